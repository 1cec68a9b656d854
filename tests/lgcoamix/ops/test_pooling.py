"""Averages over regions: painted arrays, ids of no region, gradients."""

import pytest
import torch

from lgcoamix.ops.pooling import pool_superpixels, region_areas

# One image of 3x4 pixels, two channels.
REGIONS = torch.tensor([[[0, 0, 2, 2], [0, 3, 3, 2], [3, 3, 3, 3]]])
FEATURES = torch.tensor(
    [
        [
            [[1.0, 2, 10, 20], [6, 0, 1, 30], [2, 3, 4, 5]],
            [[0.0, 0, 1, 1], [3, -6, 0, 4], [0, 0, 0, 0]],
        ]
    ]
)


def test_each_region_gets_the_mean_of_its_own_pixels():
    # Region 0: (1+2+6)/3, (0+0+3)/3; region 2: (10+20+30)/3, (1+1+4)/3; region 3: (0+1+2+3+4+5)/6, -6/6.
    expected = torch.tensor([[[3.0, 1], [0, 0], [20, 2], [2.5, -1]]])
    torch.testing.assert_close(pool_superpixels(FEATURES, REGIONS, 4), expected)


def test_areas_are_pixel_counts():
    assert region_areas(REGIONS, 5).tolist() == [[3, 0, 3, 6, 0]]


def test_absent_regions_are_zero_rows():
    pooled = pool_superpixels(FEATURES, REGIONS, 6)
    assert pooled.shape == (1, 6, 2)
    assert torch.equal(pooled[0, [1, 4, 5]], torch.zeros(3, 2))


def test_ids_outside_the_count_belong_to_no_region():
    regions = torch.tensor([[[0, -1, 7, 2], [0, 1, -300, 2], [255, 65535, 2, 3]]])
    # Of region 0 stay 1 and 6; of region 1 stays 0; of region 2 stay 20, 30 and 4; region 3 is outside count 3.
    pooled = pool_superpixels(FEATURES[:, :1], regions, 3)
    torch.testing.assert_close(pooled, torch.tensor([[[3.5], [0], [18]]]))
    assert region_areas(regions, 3).tolist() == [[2, 1, 3]]


def test_images_of_a_batch_do_not_share_regions():
    features = torch.tensor([[[[1.0, 3]]], [[[10.0, 20]]]])
    pooled = pool_superpixels(features, torch.tensor([[[0, 0]], [[1, 0]]]), 2)
    torch.testing.assert_close(pooled, torch.tensor([[[2.0], [0]], [[20.0], [10]]]))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32, torch.uint16])
def test_every_integer_type_of_map_is_taken(dtype):
    assert torch.equal(pool_superpixels(FEATURES, REGIONS.to(dtype), 4), pool_superpixels(FEATURES, REGIONS, 4))


def test_channels_last_features_pool_alike():
    features = torch.randn(2, 3, 5, 4, generator=torch.Generator().manual_seed(0))
    regions = torch.randint(4, (2, 5, 4), generator=torch.Generator().manual_seed(1))
    streamed = features.to(memory_format=torch.channels_last)
    torch.testing.assert_close(pool_superpixels(streamed, regions, 4), pool_superpixels(features, regions, 4))


@pytest.mark.parametrize("shape", [(1, 4, 3), (1, 3, 3), (2, 3, 4), (3, 4)])
def test_a_map_of_another_shape_is_refused_with_both_shapes(shape):
    with pytest.raises(ValueError, match=r"\(1, 2, 3, 4\).*" + str(shape).replace("(", r"\(").replace(")", r"\)")):
        pool_superpixels(FEATURES, torch.zeros(shape, dtype=torch.int64), 4)


def test_the_gradient_of_pooling_is_that_of_the_mean():
    features = torch.randn(2, 3, 3, 4, dtype=torch.float64, requires_grad=True)
    regions = torch.tensor([[[0, 0, 2, 2], [0, 5, 5, 2], [-1, 5, 9, 5]], [[1] * 4] * 3])
    assert torch.autograd.gradcheck(lambda values: pool_superpixels(values, regions, 6), features)
    (gradient,) = torch.autograd.grad(pool_superpixels(features, regions, 6)[0, 0, 0], features)
    expected = torch.zeros(2, 3, 3, 4, dtype=torch.float64)
    expected[0, 0, [0, 0, 1], [0, 1, 0]] = 1 / 3
    torch.testing.assert_close(gradient, expected)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_gradients_pass_the_numerical_check_with_absent_single_and_no_regions(memory_format):
    features = torch.randn(3, 3, 3, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    regions = torch.tensor(
        [
            [[0, 0, 2, 2], [0, 5, 5, 2], [-1, 5, 9, 5]],  # 1, 3 and 4 are absent, two pixels belong to none
            [[1] * 4] * 3,
            [[-1, 6, 255, 7], [6] * 4, [-1] * 4],
        ]
    )

    def run(values: torch.Tensor) -> torch.Tensor:
        return pool_superpixels(values.contiguous(memory_format=memory_format), regions, 6)

    values = features.clone().requires_grad_()
    assert torch.autograd.gradcheck(run, values)
    (gradient,) = torch.autograd.grad(run(values).sum(), values)
    share = torch.zeros(3, 3, 4, dtype=torch.float64)  # one over the area of the pixel's region
    share[0] = torch.tensor([[1 / 3, 1 / 3, 1 / 3, 1 / 3], [1 / 3, 1 / 4, 1 / 4, 1 / 3], [0, 1 / 4, 0, 1 / 4]])
    share[1] = 1 / 12
    torch.testing.assert_close(gradient, share[:, None].expand_as(gradient))


def test_channels_last_features_get_a_gradient_in_their_own_memory_order():
    features = torch.randn(2, 3, 5, 4).contiguous(memory_format=torch.channels_last).requires_grad_()
    regions = torch.randint(4, (2, 5, 4), generator=torch.Generator().manual_seed(1))
    (gradient,) = torch.autograd.grad(pool_superpixels(features, regions, 4).sum(), features)
    assert gradient.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_pooling_compiles_without_a_break_in_both_memory_orders(memory_format):
    torch.compiler.reset()
    features = torch.randn(2, 3, 5, 4).contiguous(memory_format=memory_format)
    regions = torch.randint(-1, 5, (2, 5, 4), generator=torch.Generator().manual_seed(1))
    compiled = torch.compile(pool_superpixels, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(features, regions, 4), pool_superpixels(features, regions, 4))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_summed_in_float32(dtype, layout):
    features = torch.full((1, 2, 224, 224), 3.0, dtype=dtype).contiguous(memory_format=layout)
    pooled = pool_superpixels(features, torch.zeros(1, 224, 224, dtype=torch.int64), 1)  # a sum of 150,528
    assert pooled.dtype == torch.float32
    assert pooled.tolist() == [[[3.0, 3.0]]]
