"""Settings: ``section.key=value`` texts, refusals with a suggestion, and the way through JSON."""

import json

import pytest

from lgcoamix.errors import SettingsError
from lgcoamix.recipes import RECIPES
from lgcoamix.settings.mixers import METHOD_OPTIONS
from lgcoamix.settings.sections import SECTIONS, Settings, from_plain, to_plain
from lgcoamix.settings.text import suggest, text_of


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("optim.epochs=7", 7),
        ("optim.lr=0.25", 0.25),
        ("optim.lr=1e-3", 0.001),
        ("optim.lr=1", 1.0),
        ("optim.nesterov=true", True),
        ("optim.nesterov=False", False),
        ("optim.schedule=lgcoamix-b", "lgcoamix-b"),
        ("optim.optimiser=adamw", "adamw"),
        ("optim.warmup=3", 3),
        ("compute.amp=bf16", "bf16"),
        ("compute.compile=true", True),
        ("data.scale=0.08,1", (0.08, 1.0)),
        ("data.ratio=1,1.3", (1.0, 1.3)),
        ("data.crop=pad", "pad"),
        ("data.padding=0", 0),
        ("model.weights=some/file=1.pth", "some/file=1.pth"),
        ("model.pool_stem=TRUE", True),
        ("mixer.select_prob=0.4", 0.4),
        ("mixer.lam=mean", "mean"),
        ("mixer.exclude_self=true", True),
    ],
)
def test_an_assignment_sets_a_value_of_its_type(text, value):
    settings = Settings().with_assignments((text,))
    section, _, key = text.partition("=")[0].partition(".")
    found = getattr(getattr(settings, section), key)
    assert found == value
    assert type(found) is type(value)


def test_assignments_change_nothing_else_and_the_last_one_counts():
    before = Settings()
    after = before.with_assignments(("optim.lr=0.5", "mixer.lam=area", "optim.lr=0.25"))
    plain = to_plain(before)
    plain["optim"]["lr"], plain["mixer"]["lam"] = 0.25, "area"
    assert to_plain(after) == plain
    assert before == Settings()


def test_assignments_that_depend_on_each_other_have_no_order():
    start = Settings().with_assignments(("optim.nesterov=true",))
    for given in (("optim.nesterov=false", "optim.momentum=0"), ("optim.momentum=0", "optim.nesterov=false")):
        assert start.with_assignments(given).optim.momentum == 0
    with pytest.raises(SettingsError, match="nesterov requires a momentum above 0"):
        start.with_assignments(("optim.momentum=0",))


def test_what_is_shown_can_be_typed():
    assert [text_of(value) for value in (None, True, 3, 0.5, (0.5, 1.0), "adamw")] == [
        *("none", "true", "3", "0.5", "0.5,1.0", "adamw")
    ]
    settings = Settings().with_assignments(("optim.warmup=3",))
    assert settings.optim.warmup == 3
    assert settings.with_assignments(("optim.warmup=none",)) == Settings()
    with pytest.raises(SettingsError, match=r"optim.epochs takes an integer, got 'none'"):
        settings.with_assignments(("optim.epochs=none",))


def test_assignments_follow_the_method():
    settings = Settings().with_method("cutmix").with_assignments(("mixer.correct_lam=false",))
    assert settings.mixer.correct_lam is False
    with pytest.raises(SettingsError, match=r"'mixer.select_prob' \(mixer: cutmix\)"):
        settings.with_assignments(("mixer.select_prob=0.4",))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("optim.lr", r"expected section.key=value, got 'optim.lr'"),
        ("lr=0.1", r"expected section.key=value, got 'lr=0.1'"),
        ("optim.lrr=0.1", r"no setting 'optim.lrr'.*did you mean optim.lr"),
        ("mixer.selct_prob=1", r"no setting 'mixer.selct_prob'.*did you mean mixer.select_prob"),
        ("optimiser.epochs=1", r"no setting 'optimiser.epochs'.*did you mean optim.epochs"),
        ("optim.epochs=2.5", r"optim.epochs takes an integer, got '2.5'"),
        ("optim.epochs=many", r"optim.epochs takes an integer, got 'many'"),
        ("optim.lr=fast", r"optim.lr takes a number, got 'fast'"),
        ("optim.nesterov=1", r"optim.nesterov takes true or false, got '1'"),
        ("data.scale=0.5", r"data.scale takes two numbers LOW,HIGH, got '0.5'"),
        ("data.scale=0.1,0.2,0.3", r"data.scale takes two numbers"),
    ],
)
def test_a_text_that_cannot_be_is_refused_with_what_was_expected(text, message):
    with pytest.raises(SettingsError, match=message):
        Settings().with_assignments((text,))


@pytest.mark.parametrize(
    "text",
    [
        "optim.epochs=0",
        "optim.batch_size=-1",
        "optim.lr=0",
        "optim.lr=nan",
        "optim.lr=inf",
        "optim.momentum=-0.1",
        "optim.momentum=nan",
        "optim.weight_decay=-1",
        "optim.schedule=step",
        "optim.lr=1e300",
        "optim.decay=some",
        "optim.warmup=-1",
        "optim.clip=-1",
        "optim.clip=nan",
        "optim.accumulate=0",
        "optim.ema=1",
        "optim.ema=nan",
        "optim.plain_epochs=-2",
        "compute.amp=half",
        "data.image_size=0",
        "data.crop=centre",
        "data.test=five",
        "data.normalise=imagenet",
        "data.scale=0.5,0.2",
        "data.scale=0,1",
        "data.scale=0.5,1.5",
        "data.ratio=0,1",
        "data.flip=1.1",
        "data.flip=nan",
        "data.padding=-1",
        "model.width=0",
        "model.skip=sum",
        "mixer.select_prob=1.2",
        "mixer.lam=attentive",
    ],
)
def test_a_value_out_of_its_range_is_refused_by_section_and_name(text):
    section, _, key = text.partition("=")[0].partition(".")
    with pytest.raises(SettingsError, match=f"^{section}: {key} must"):
        Settings().with_assignments((text,))


def test_settings_of_an_earlier_version_are_what_they_were_then():
    settings = Settings().with_method("snapmix")
    assert (settings.mixer.cam, settings.model.init) == ("train", "timm")
    document = json.loads(json.dumps(to_plain(settings)))
    del document["mixer"]["cam"], document["model"]["init"]
    assert from_plain(document) == settings.with_assignments(("mixer.cam=eval",))
    assert "cam" not in document["mixer"]
    other = to_plain(Settings().with_method("cutmix"))
    del other["model"]["init"]
    assert from_plain(other) == Settings().with_method("cutmix")


def test_nesterov_without_momentum_is_refused():
    with pytest.raises(SettingsError, match="nesterov"):
        Settings().with_values("optim", nesterov=True, momentum=0.0)


def test_an_unknown_method_is_refused_with_a_suggestion():
    with pytest.raises(SettingsError, match=r"no mixer 'cutmixx'; did you mean cutmix"):
        Settings().with_method("cutmixx")


def test_a_method_keeps_its_options_where_it_stays_and_has_its_own_where_it_changes():
    settings = RECIPES["cub-resnet18"].settings
    assert settings.with_method("lgcoamix") is settings
    for name, options in METHOD_OPTIONS.items():
        if name != settings.method:
            assert settings.with_method(name).mixer == options()
            assert settings.with_method(name).optim == settings.optim


def test_values_of_none_leave_a_setting_as_it_is():
    assert Settings().with_values("optim", epochs=None, batch_size=None) == Settings()
    assert Settings().with_values("optim", epochs=3, batch_size=None).optim.epochs == 3


@pytest.mark.parametrize("method", METHOD_OPTIONS)
def test_settings_come_back_from_json(method):
    settings = RECIPES["cub-resnet18"].settings.with_method(method)
    text = json.dumps(to_plain(settings))
    assert from_plain(json.loads(text)) == settings
    assert json.loads(text).keys() == {"method", *SECTIONS}


def test_suggestions_name_the_nearest_or_list_all_choices():
    assert suggest("lgcomix", ["none", "lgcoamix"]) == "did you mean lgcoamix?"
    assert suggest("zzz", ["none", "mixup"]) == "choose one of: none, mixup"
