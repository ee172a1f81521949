"""The benchmark of the pipeline runs through the command line and tells its floor from the whole."""

from querypose_jax.bench import __main__ as command


def test_input_prints_pipeline_floor_and_what_bounds_it(tmp_path, capsys):
    code = command.main(
        [
            "bench",
            "input",
            "--config=configs/synthetic_tiny.py",
            "--rounds=1",
            "--config.data.batch_size=2",
            "--config.data.synthetic.train_pictures=12",
            f"--config.data.prepared={tmp_path}",
        ]
    )
    out = capsys.readouterr().out
    assert code == 0
    assert [line.split("|")[1].strip() for line in out.splitlines()[2:5]] == ["pipeline", "decode + resize", "decode"]
    assert out.splitlines()[3].split("|")[5].strip() == "1.00"
    assert "CPU time of the pipeline: decoding" in out


def test_an_unknown_benchmark_is_one_line(capsys):
    assert command.main(["bench", "everything", "--config=configs/synthetic_tiny.py"]) == 2
    assert "error: command line: 'everything' is no benchmark; known: input, inference" in capsys.readouterr().err
