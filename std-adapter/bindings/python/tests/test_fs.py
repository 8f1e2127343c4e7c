"""Tests the file system for fsspec with fsspec's own tests and with pandas."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Iterator

import fsspec
import pandas as pd
import pytest
from fsspec.tests.abstract import (
    AbstractCopyTests,
    AbstractFixtures,
    AbstractGetTests,
    AbstractOpenTests,
    AbstractPipeTests,
    AbstractPutTests,
)

from datakit.fs import DatakitFileSystem
from server import Server


@pytest.fixture(scope="class")
def class_fs(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Starts a server for all tests in a class.

    The class's `target` attribute selects the directory to which the tests write.
    """
    target = request.cls.target
    with Server(*(["--scratch"] if target == "scratch" else [])) as server:
        fs = fsspec.filesystem("datakit", host="127.0.0.1", port=server.port)
        if target != "scratch":
            fs.makedirs("/branch/master", exist_ok=True)
            fs.mkdir("/branch/master/transactions/t", create_parents=False)
        yield fs
        fs.close()


class Fixtures(AbstractFixtures):
    """Fixtures for fsspec's tests. `target` is scratch, transaction or branch."""

    target = "scratch"

    @pytest.fixture
    def fs(self, class_fs: Any) -> Any:
        return class_fs

    @pytest.fixture
    def fs_path(self) -> str:
        return {
            "scratch": "/",
            "transaction": "/branch/master/transactions/t/rw",
            "branch": "/branch/master/ro",
        }[self.target]

    @pytest.fixture
    def supports_empty_directories(self) -> bool:
        return self.target != "branch"


class TestCopyScratch(Fixtures, AbstractCopyTests):
    pass


class TestGetScratch(Fixtures, AbstractGetTests):
    pass


class TestPutScratch(Fixtures, AbstractPutTests):
    pass


class TestOpenScratch(Fixtures, AbstractOpenTests):
    pass


class TestPipeScratch(Fixtures, AbstractPipeTests):
    pass


class Transaction(Fixtures):
    target = "transaction"


class TestPutTransaction(Transaction, AbstractPutTests):
    pass


class TestOpenTransaction(Transaction, AbstractOpenTests):
    pass


class TestPipeTransaction(Transaction, AbstractPipeTests):
    pass


class Branch(Fixtures):
    target = "branch"


class TestCopyBranch(Branch, AbstractCopyTests):
    pass


class TestGetBranch(Branch, AbstractGetTests):
    pass


class TestPutBranch(Branch, AbstractPutTests):
    pass


class TestOpenBranch(Branch, AbstractOpenTests):
    pass


class TestPipeBranch(Branch, AbstractPipeTests):
    pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        yield server


@pytest.fixture
def fs(server: Server) -> Iterator[DatakitFileSystem]:
    fs = fsspec.filesystem("datakit", host="127.0.0.1", port=server.port)
    yield fs
    fs.close()


def messages(fs: DatakitFileSystem, branch: str) -> list[str]:
    """Returns the subjects of all commits on a branch, newest first."""
    log = fs.cat_file(f"/branch/{branch}/log").decode()
    return [line.split("\t")[4] for line in log.splitlines()]


def test_pandas_reads_and_writes_a_branch(server: Server, fs: DatakitFileSystem) -> None:
    url = f"datakit://127.0.0.1:{server.port}/branch/master/ro/data.csv"
    table = pd.DataFrame({"name": ["é", "b"], "value": [1, 2]})
    table.to_csv(url, index=False)
    pd.testing.assert_frame_equal(pd.read_csv(url), table)
    table.to_csv(url, index=False, storage_options={"message": "Set the data"})
    assert messages(fs, "master") == ["Set the data", "Write data.csv"]
    # The old version is still readable.
    head = fs.cat_file("/branch/master/head").decode().strip()
    table["value"] *= 10
    table.to_csv(url, index=False)
    old = pd.read_csv(f"datakit://127.0.0.1:{server.port}/snapshots/{head}/ro/data.csv")
    assert list(old["value"]) == [1, 2]
    assert list(pd.read_csv(url)["value"]) == [10, 20]


def test_duckdb_reads_and_writes_a_branch(server: Server, fs: DatakitFileSystem) -> None:
    duckdb = pytest.importorskip("duckdb")
    url = f"datakit://127.0.0.1:{server.port}/branch/master/ro"
    with duckdb.connect() as connection:
        connection.register_filesystem(fs)
        connection.sql(f"copy (select range as n from range(100)) to '{url}/n.parquet'")
        found = connection.sql(f"select sum(n) from read_parquet('{url}/n.parquet')").fetchall()
    assert found == [(4950,)]
    assert messages(fs, "master") == ["Write n.parquet"]


def test_dask_reads_and_writes_a_branch(server: Server, fs: DatakitFileSystem) -> None:
    dask = pytest.importorskip("dask.dataframe")
    url = f"datakit://127.0.0.1:{server.port}/branch/master/ro/parts"
    table = pd.DataFrame({"n": range(100)})
    dask.from_pandas(table, npartitions=3).to_parquet(url)
    assert len(fs.ls("/branch/master/ro/parts", detail=False)) == 3
    assert dask.read_parquet(url)["n"].sum().compute() == 4950


def test_a_transaction_is_one_commit(fs: DatakitFileSystem) -> None:
    fs.pipe("/branch/master/ro/old", b"1")
    with fs.transaction:
        with fs.open("/branch/master/ro/a/b", "wb") as file:
            file.write(b"one")
        fs.pipe("/branch/master/ro/c", b"two")
        fs.rm("/branch/master/ro/old")
        assert not fs.exists("/branch/master/ro/c")
        with fs.open("/branch/other/ro/d", "wb") as file:
            file.write(b"three")
    assert messages(fs, "master") == ["Write 2 files, Remove old", "Write old"]
    assert fs.find("/branch/master/ro") == ["/branch/master/ro/a/b", "/branch/master/ro/c"]
    assert fs.cat("/branch/other/ro/d") == b"three"


def test_a_failed_transaction_commits_nothing(fs: DatakitFileSystem) -> None:
    with pytest.raises(KeyError):
        with fs.transaction:
            with fs.open("/branch/master/ro/a", "wb") as file:
                file.write(b"one")
            fs.pipe("/branch/master/ro/b", b"two")
            raise KeyError
    assert fs.ls("/branch", detail=False) == []
    fs.pipe("/branch/master/ro/c", b"3")
    assert fs.ls("/branch/master/ro", detail=False) == ["/branch/master/ro/c"]


def test_a_call_is_one_commit(fs: DatakitFileSystem, tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).write_text(name)
    (tmp_path / "c").chmod(0o755)
    fs.put(f"{tmp_path}/", "/branch/master/ro/put/", recursive=True)
    fs.cp("/branch/master/ro/put/", "/branch/master/ro/copy/", recursive=True)
    fs.pipe({"/branch/master/ro/x": b"1", "/branch/master/ro/y": b"2"})
    fs.rm(["/branch/master/ro/x", "/branch/master/ro/put"], recursive=True)
    expected = ["Remove 2 files", "Write 2 files", "Write 3 files", "Write 3 files"]
    assert messages(fs, "master") == expected
    assert fs.ls("/branch/master/ro", detail=False) == [
        "/branch/master/ro/copy",
        "/branch/master/ro/y",
    ]
    assert fs.info("/branch/master/ro/copy/c")["mode"] & 0o100


def test_removing_a_new_file_in_a_transaction_discards_it(fs: DatakitFileSystem) -> None:
    fs.pipe("/branch/master/ro/kept", b"1")
    with fs.transaction:
        fs.pipe({"/branch/master/ro/d/a": b"1", "/branch/master/ro/b": b"2"})
        fs.rm("/branch/master/ro/kept")
        fs.pipe("/branch/master/ro/kept", b"2")
        fs.rm("/branch/master/ro/d", recursive=True)
        with pytest.raises(FileNotFoundError):
            fs.rm("/branch/master/ro/d", recursive=True)
    assert fs.find("/branch/master/ro") == ["/branch/master/ro/b", "/branch/master/ro/kept"]
    assert fs.cat("/branch/master/ro/kept") == b"2"
    assert len(messages(fs, "master")) == 2


def test_files_are_read_in_parts(fs: DatakitFileSystem) -> None:
    data = bytes(range(256)) * 4096
    fs.pipe("/branch/master/ro/large", data)
    assert fs.cat_file("/branch/master/ro/large", 1000, 3000) == data[1000:3000]
    assert fs.cat_file("/branch/master/ro/large", -10) == data[-10:]
    assert fs.cat_file("/branch/master/ro/large", 5, -5) == data[5:-5]
    with fs.open("/branch/master/ro/large", "rb", block_size=1000) as file:
        file.seek(500_000)
        assert file.read(10) == data[500_000:500_010]
        file.seek(-3, 2)
        assert file.read() == data[-3:]


def test_files_are_appended(fs: DatakitFileSystem) -> None:
    for text in (b"one\n", b"two\n"):
        with fs.open("/branch/master/ro/log", "ab") as file:
            file.write(text)
    assert fs.cat("/branch/master/ro/log") == b"one\ntwo\n"


def test_generated_files_are_read_completely(fs: DatakitFileSystem) -> None:
    fs.pipe("/branch/master/ro/a", b"1")
    with fs.open("/branch/master/head", "rb") as file:
        assert len(file.read()) == 41


def test_links_and_executables_are_described(fs: DatakitFileSystem) -> None:
    fs.makedirs("/branch/master", exist_ok=True)
    fs.mkdir("/branch/master/transactions/t", create_parents=False)
    fs.pipe("/branch/master/transactions/t/rw/dir/file", b"1")
    fs.pipe("/branch/master/transactions/t/msg", b"By hand")
    fs.pipe("/branch/master/transactions/t/ctl", b"commit")
    assert messages(fs, "master") == ["By hand"]
    assert fs.info("/branch/master/ro/dir")["type"] == "directory"
    assert fs.info("/branch/master/ro/dir/file")["size"] == 1
    assert not fs.exists("/branch/master/ro/dir/file/x")
    assert fs.modified("/branch/master/ro/dir/file").year > 2000


def test_branches_are_removed(fs: DatakitFileSystem) -> None:
    fs.pipe("/branch/topic%2Fone/ro/a", b"1")
    assert fs.ls("/branch", detail=False) == ["/branch/topic%2Fone"]
    with pytest.raises(IsADirectoryError):
        fs.rm("/branch/topic%2Fone")
    fs.rm("/branch/topic%2Fone", recursive=True)
    assert fs.ls("/branch", detail=False) == []


def test_a_lost_connection_is_replaced(fs: DatakitFileSystem) -> None:
    fs.pipe("/branch/master/ro/a", b"1")
    fs.close()
    assert fs.cat("/branch/master/ro/a") == b"1"


def test_urls_are_split() -> None:
    split = DatakitFileSystem._get_kwargs_from_urls
    assert split("datakit://host:99/a#b?c") == {"host": "host", "port": 99}
    assert split("datakit://[::1]/a") == {"host": "::1", "port": 5640}
    strip = DatakitFileSystem._strip_protocol
    assert strip("datakit://host:99/a#b?c/") == "/a#b?c"
    assert strip("datakit://host") == "/"
    assert strip("a/b") == "/a/b"
