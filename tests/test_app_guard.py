"""No request reads or writes a file outside the page's folders, or reaches more of Gradio than the page needs."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import quote, urlsplit

import httpx
import pytest
import torch
from app_visitor import API, RefusedError, Visitor, downloads, files, page
from conftest import REPOSITORY
from PIL import Image
from small import small

from hkdsr.nets.files.load import save

SECRET = "what nobody may read"
TRICKS = ("{}", "../../../../../../..{}", "{}/.", "/proc/self/root{}", "file://{}", "//{}", "./{}", "{}\0.png")
LISTENER = """
import sys

def heard(event, arguments):
    if event == "socket.getaddrinfo" or (event == "socket.connect" and isinstance(arguments[1], tuple)):
        with open({!r}, "a") as file:
            print(arguments[0] if event == "socket.getaddrinfo" else arguments[1][0], file=file)

sys.addaudithook(heard)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("app")
    (made / "secret.png").write_text(SECRET)
    (made / "networks").mkdir()
    (made / "networks" / "link.pth").symlink_to(made / "secret.png")
    Image.new("RGB", (16, 12), "teal").save(made / "image.png")
    return made


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    """The page as one starts it whose environment opens what it can, with a listener to all that it connects to."""
    (folder / "site").mkdir()
    (folder / "site" / "sitecustomize.py").write_text(LISTENER.format(str(folder / "hosts")))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(
            "PYTHONPATH", os.pathsep.join([str(folder / "site"), *filter(None, [os.environ.get("PYTHONPATH")])])
        )
        for name, value in {"ALLOWED_PATHS": "/", "SHARE": "True", "ANALYTICS_ENABLED": "True"}.items():
            patch.setenv(f"GRADIO_{name}", value)
        with page(folder, "--allow-models") as (opened, _):
            yield opened


@pytest.fixture
def visitor(address: str) -> Visitor:
    return Visitor(address)


def secrets_of(folder: Path) -> list[str]:
    """Files that are none of the page's business, by every way of writing their names."""
    outside = [folder / "secret.png", folder / "networks" / "link.pth", REPOSITORY / "pyproject.toml", "/etc/passwd"]
    return [trick.format(path) for path in outside for trick in TRICKS]


def test_no_address_gives_a_file_of_the_computer(visitor: Visitor, folder: Path) -> None:
    for path in secrets_of(folder):
        for sent in (path, quote(path, safe=""), quote(quote(path, safe=""), safe="")):
            for place in (f"{API}/file=", f"{API}/file/", f"{API}/proxy=", "static/", "assets/", "svelte/", f"{API}/"):
                answer = visitor.client.get(f"{place}{sent.replace(chr(0), '%00')}")
                assert answer.status_code in (400, 403, 404), (place, path, answer.status_code)
                assert SECRET not in answer.text
                assert "[project]" not in answer.text


def test_no_event_takes_a_file_that_was_not_uploaded(visitor: Visitor, folder: Path) -> None:
    """Neither as an image, nor as HR, nor as a network, nor in a place where no file is asked for."""
    (upload,) = visitor.upload(folder / "image.png")
    for path in secrets_of(folder):
        named = files([path])
        for event, data in (
            ("begin", [named]),
            ("work", [named, ["tiny_x4"], []]),
            ("work", [files([upload]), ["tiny_x4"], named]),
            ("work", [files([upload]), named, []]),
            ("bring", [named, []]),
            ("switch", [named[0], named[0], named[0]]),
            ("describe", [named]),
        ):
            with pytest.raises(RefusedError, match="not uploaded to the page"):
                visitor.join(event, *data)


@pytest.mark.parametrize("name", ["../networks/link.pth", "link.pth", "/etc/passwd", "../../secret.png", "tiny.py:Net"])
def test_networks_are_those_of_the_list(visitor: Visitor, folder: Path, name: str) -> None:
    """A link in the folder that leads out of it is not one of them."""
    (upload,) = visitor.upload(folder / "image.png")
    with pytest.raises(RefusedError) as refused:
        visitor.enlarge([upload], [name])
    assert SECRET not in str(refused.value)
    assert "Traceback" not in str(refused.value)
    with pytest.raises(RefusedError):
        visitor.ask("describe", [name])


def test_names_of_uploads_stay_names(visitor: Visitor, folder: Path) -> None:
    content = (folder / "image.png").read_bytes()
    for name in ("../../evil.png", "/tmp/evil.png", "..%2f..%2fevil.png", "a/../../evil.png", "\\..\\evil.png"):
        answer = visitor.client.post(f"{API}/upload", files=[("files", (name, content))])
        (path,) = answer.json()
        assert Path(path).resolve().parent.parent == Path(visitor.upload(folder / "image.png")[0]).parent.parent
    assert not list(folder.rglob("evil*"))


def test_the_key_of_a_visitor_is_no_path(address: str, folder: Path) -> None:
    visitor = Visitor(address)
    visitor.key = "../../../escaped"
    uploads = visitor.upload(folder / "image.png")
    visitor.ask("begin", files(uploads))
    assert not list(folder.parent.rglob("escaped*"))


@pytest.mark.parametrize(
    "place",
    [
        *("gradio_api/openapi.json", "gradio_api/runs", "gradio_api/vibe-code", "monitoring", "gradio_api/token"),
        *("gradio_api/deep_link", "gradio_api/proxy=https://example.org", "docs", "robots.txt", "manifest.json"),
        *("gradio_api/file=https://example.org/a.png", "gradio_api/custom_component/a/b/c/d", "gradio_api/mcp/"),
    ],
)
def test_what_the_page_does_not_need_is_not_there(visitor: Visitor, place: str) -> None:
    assert visitor.client.get(place).status_code in (403, 404)


def test_pages_of_other_sites_cannot_use_this_one(visitor: Visitor) -> None:
    for headers in ({"host": "example.org"}, {"origin": "https://example.org"}, {"origin": "null"}, {"host": "["}):
        assert visitor.client.get("", headers=headers).status_code == httpx.codes.FORBIDDEN, headers
    assert visitor.client.get("", headers={"origin": str(visitor.client.base_url)}).status_code == httpx.codes.OK


def test_a_request_is_short_or_an_upload(visitor: Visitor) -> None:
    long = json.dumps({"data": ["a" * 5 * 10**6], "fn_index": 0, "session_hash": "a"})
    assert visitor.client.post(f"{API}/queue/join", content=long).status_code == httpx.codes.REQUEST_ENTITY_TOO_LARGE


@pytest.mark.parametrize("length", [str(10**15), "-1", "much", None])
def test_an_upload_does_not_fill_the_disk(address: str, length: str | None) -> None:
    """It is refused before it comes."""
    connection = HTTPConnection(urlsplit(address).netloc, timeout=20)
    connection.putrequest("POST", f"/{API}/upload")
    if length is not None:
        connection.putheader("Content-Length", length)
    connection.endheaders()
    assert connection.getresponse().status in (400, 413)
    connection.close()


def test_without_the_password_nothing_is_done(folder: Path) -> None:
    password = page(folder, "--auth", "ann:secret")
    with password as (address, _), httpx.Client(base_url=address, trust_env=False) as client:
        for place in (
            "config",
            f"{API}/info",
            f"{API}/file={folder / 'image.png'}",
            f"{API}/queue/data?session_hash=a",
        ):
            assert client.get(place).status_code in (401, 403), place
        asked = {"data": [], "fn_index": 0, "session_hash": "a"}
        assert client.post(f"{API}/queue/join", json=asked).status_code == httpx.codes.UNAUTHORIZED
        assert client.post(f"{API}/upload", files=[("files", ("a.png", b"a"))]).status_code == httpx.codes.UNAUTHORIZED
        assert (
            client.post("login", data={"username": "ann", "password": "guess"}).status_code == httpx.codes.BAD_REQUEST
        )
        assert client.post("login", data={"username": "ann", "password": "secret"}).status_code == httpx.codes.OK


class Hostile:
    """What a pickle of this makes when it is read without care."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.target,)


def test_a_network_that_is_brought_is_read_without_running_it(address: str, visitor: Visitor, folder: Path) -> None:
    save(small("compact"), folder / "mine.safetensors")
    torch.save({"params": Hostile(folder / "ran")}, folder / "evil.pth")
    names = ("image.png", "mine.safetensors", "evil.pth")
    photograph, mine, evil = visitor.upload(*(folder / name for name in names))
    visitor.ask("bring", files([mine]), [])
    visitor.ask("bring", files([evil]), [])
    assert "compact" in visitor.ask("describe", ["mine.safetensors (yours)"])[0]
    (file,) = downloads(visitor.enlarge([photograph], ["mine.safetensors (yours)"]))
    assert Path(file).name == "image_mine.png"
    with pytest.raises(RefusedError, match="give a "):
        visitor.enlarge([photograph], ["evil.pth (yours)"])
    assert not (folder / "ran").exists()
    with pytest.raises(RefusedError):  # it is of the one who brought it
        Visitor(address).enlarge([photograph], ["mine.safetensors (yours)"])
    with pytest.raises(RefusedError, match="Invalid file type"):
        visitor.ask("bring", files([photograph]), [])


def test_the_page_asks_no_other_computer(visitor: Visitor, folder: Path) -> None:
    (upload,) = visitor.upload(folder / "image.png")
    visitor.enlarge([upload])
    assert set((folder / "hosts").read_text().split()) == {"127.0.0.1"}
