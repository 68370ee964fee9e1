"""What ``hkdsr app`` may be told at its start, and what it refuses."""

from __future__ import annotations

import tomllib
from importlib.metadata import requires, version
from pathlib import Path
from typing import Any

import pytest
from conftest import REPOSITORY
from small import refusal

from hkdsr.cli import app as command
from hkdsr.settings.app import AppSettings


def test_by_default_this_computer_alone_is_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = AppSettings()
    assert (settings.host, settings.share, settings.credentials, settings.allow_models) == (
        "127.0.0.1",
        False,
        None,
        False,
    )
    assert (settings.networks, settings.runs, settings.images) == (tmp_path, tmp_path / "runs", None)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "10.0.0.1", "example.org", "127.0.0.1.example.org"])
def test_others_need_a_password(host: str, tmp_path: Path) -> None:
    said = refusal(lambda: AppSettings(host=host, networks=tmp_path))
    assert said == f"--host {host} lets others use this page: add --auth user:password, or leave --host {host} out"
    assert AppSettings(host=host, networks=tmp_path, auth="ann:a:b").credentials == ("ann", "a:b")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "localhost", "::1"])
def test_addresses_of_this_computer_need_none(host: str, tmp_path: Path) -> None:
    assert AppSettings(host=host, networks=tmp_path).credentials is None


def test_neither_does_a_tunnel_open_without_one(tmp_path: Path) -> None:
    assert refusal(lambda: AppSettings(share=True, networks=tmp_path)).startswith("--share lets others use this page: ")
    assert AppSettings(share=True, networks=tmp_path, auth="ann:secret").share


@pytest.mark.parametrize("auth", ["", "ann", "ann:", ":secret", ":"])
def test_half_a_password_is_none(auth: str, tmp_path: Path) -> None:
    assert "write it as user:password" in refusal(lambda: AppSettings(auth=auth, networks=tmp_path))


def test_a_password_is_not_printed(tmp_path: Path) -> None:
    assert "secret" not in repr(AppSettings(auth="ann:secret", networks=tmp_path))


@pytest.mark.parametrize(
    "given", [{"port": -1}, {"port": 65536}, {"queue": 0}, {"max_pixels": 0}, {"max_upload_mb": 0}, {"queue": 10**9}]
)
def test_values_out_of_range_are_named(given: dict[str, Any], tmp_path: Path) -> None:
    (name,) = given
    assert refusal(lambda: AppSettings(**given, networks=tmp_path)).startswith(f"{name} is {given[name]}: ")


@pytest.mark.parametrize("name", ["networks", "images"])
def test_folders_have_to_be_there(name: str, tmp_path: Path) -> None:
    given: dict[str, Any] = {name: tmp_path / "none"}
    said = refusal(lambda: AppSettings(**given))
    assert said == f"--{name} {tmp_path / 'none'} is not a folder: name one that is there"


def test_runs_may_come_later_but_are_no_file(tmp_path: Path) -> None:
    assert AppSettings(networks=tmp_path, runs=tmp_path / "later").runs == tmp_path / "later"
    (tmp_path / "file").touch()
    assert "is not a folder" in refusal(lambda: AppSettings(networks=tmp_path, runs=tmp_path / "file"))


def test_the_command_refuses_before_it_serves(tmp_path: Path) -> None:
    said = refusal(lambda: command.run(["--host", "0.0.0.0", "--networks", str(tmp_path)]))
    assert "add --auth user:password" in said


def test_the_extra_names_versions_that_go_together() -> None:
    """A new Gradio with the Pillow that it takes, and both are what is installed."""
    pytest.importorskip("gradio", reason="the page is an extra: pip install 'hkdsr[app]'")
    from packaging.requirements import Requirement

    extras = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    asked = {one.name: one.specifier for one in map(Requirement, extras["app"])}
    assert set(asked) == {"gradio", "pillow"}
    assert all(specifier.contains(version(name)) for name, specifier in asked.items())
    of_gradio = {one.name: one.specifier for one in map(Requirement, requires("gradio") or ())}
    assert of_gradio["pillow"].contains(version("pillow"))
    assert not asked["pillow"].contains("13.0")
