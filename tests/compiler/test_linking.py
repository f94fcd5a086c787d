"""What the cross linker keeps is forgotten once, however many links fail with it at the same time."""

from concurrent.futures import ThreadPoolExecutor

from lampq_tvm.compiler.linking import _forget_libraries
from lampq_tvm.device.cross import zig_cache


def test_threads_whose_links_fail_together_all_go_on(tmp_path, monkeypatch):
    monkeypatch.setenv("LAMPQ_CACHE", str(tmp_path))
    command = [str(tmp_path / "link-aarch64")]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(40):
            for i in range(20):
                (zig_cache() / f"o/{i}").mkdir(parents=True)
            assert any(list(pool.map(_forget_libraries, [command] * 8)))
            assert list(tmp_path.iterdir()) == []
