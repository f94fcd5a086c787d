from lampq_tvm.tune.log import encode, open_log


def write(path, *trials):
    with open_log(path) as log:
        for trial in trials:
            log.add(trial)


def read(path):
    with open_log(path) as log:
        return log.trials


A, B, C = ({"tiles": name, "cost": 1 / 3} for name in "abc")


def test_trials_come_back_as_they_were(tmp_path):
    write(tmp_path / "log.jsonl", A, B)
    write(tmp_path / "log.jsonl", C)
    assert read(tmp_path / "log.jsonl") == [A, B, C]


def test_a_torn_last_line_is_cut_off_at_any_byte(tmp_path):
    path = tmp_path / "log.jsonl"
    write(path, A, B)
    whole = path.read_bytes()
    for cut in range(len(encode(A)), len(whole)):
        path.write_bytes(whole[:cut])
        assert read(path) == [A]
        assert path.read_bytes() == encode(A)
    write(path, C)
    assert read(path) == [A, C]


def test_a_damaged_line_goes_aside_and_the_others_stay(tmp_path, capsys):
    path = tmp_path / "log.jsonl"
    write(path, A, B, C)
    damaged = encode(B).replace(b'"b"', b'"x"')
    path.write_bytes(encode(A) + damaged + encode(C))
    assert read(path) == [A, C]
    assert path.with_suffix(".damaged").read_bytes() == damaged
    assert "1 damaged lines" in capsys.readouterr().err
    assert read(path) == [A, C]
    assert capsys.readouterr().err == ""


def test_the_last_of_equal_trials_is_found(tmp_path):
    write(tmp_path / "log.jsonl", A, {**A, "cost": 2.0})
    with open_log(tmp_path / "log.jsonl") as log:
        assert log.find(tiles="a")["cost"] == 2.0
        assert log.find(tiles="a", cost=3.0) is None
