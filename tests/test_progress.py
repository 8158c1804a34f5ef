import re

from sktime_tlstm.progress import ProgressLine


def test_a_line_is_rewritten_and_ended_once(capsys):
    line = ProgressLine()
    line.show("window 3/7")
    line.show("window 4/7", "loss 0.25")
    line.end()
    out, err = capsys.readouterr()
    assert err == ""
    first, second = out.removeprefix("\r").removesuffix("\n").split("\r")
    assert re.fullmatch(r"window 3/7, \d+\.\d s", first)
    assert re.fullmatch(r"window 4/7, loss 0\.25, \d+\.\d s", second)
