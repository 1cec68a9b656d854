"""What long work tells a log file."""

from lgcoamix.cli.progress import passes, training_report


def test_a_training_tells_a_log_file_what_its_bar_says(monkeypatch, capsys):
    with training_report() as report:
        advance = report.start("epoch 3/10", 640)
        advance(320)
        report.show("loss 1.234, 80 images/s, 2 % waiting for data, 0:12:30 left")
        assert capsys.readouterr().err == ""  # less than a minute
        monkeypatch.setattr("preprocess.terminal.LOG_SECONDS", 0.0)
        advance(32)
        line = "epoch 3/10: 352 of 640 images, loss 1.234, 80 images/s, 2 % waiting for data, 0:12:30 left\n"
        assert capsys.readouterr().err == line
        report.say("epoch 3/10: loss 1.2")
    assert capsys.readouterr().err == "epoch 3/10: loss 1.2\n"


def test_a_pass_over_images_tells_a_log_file_how_far_it_is(monkeypatch, capsys):
    monkeypatch.setattr("preprocess.terminal.LOG_SECONDS", 0.0)
    with passes() as start:
        start("predict", 100)(25)
    assert capsys.readouterr().err.startswith("predict: 25 of 100 images, ")
