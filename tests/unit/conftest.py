"""What tests of the IPAM need: processes that may die, and a fake cloud with a node in it."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from neutron_cni.cli import device_rules
from neutron_cni.ipam import absence
from neutron_cni.values import scrub
from neutron_cni.values.ipam_config import Mode
from tests.reliability.life import Life
from tests.reliability.scene import Scene
from tests.reliability.zygote import Zygote
from tests.support.descriptors import open_descriptors, require_closed_since

LifeMaker = Callable[..., Life]


@pytest.fixture(scope="session")
def zygote() -> Iterator[Zygote]:
    """Where the IPAM's processes come from."""
    with Zygote() as started:
        yield started


@pytest.fixture
def new_life(zygote: Zygote, tmp_path: Path) -> Iterator[LifeMaker]:
    """Makes a node in a fake cloud; at the end nothing may be wrong with any of them."""
    lives: list[Life] = []
    with ExitStack() as stack:

        def make(mode: Mode = Mode.FIXED_IPS, *cidrs: str) -> Life:
            folder = tmp_path / str(len(lives))
            scene = stack.enter_context(Scene(folder, cidrs or ("10.9.0.0/26",)))
            lives.append(Life(scene, zygote, mode, random.Random(len(lives))))
            return lives[-1]

        yield make
        for life in lives:
            assert not life.wrong, "\n".join([*life.story, *life.wrong])


@pytest.fixture(autouse=True)
def no_descriptor_is_left() -> Iterator[None]:
    """A test leaves no file and no connection open: what leaks here would leak in an agent, too."""
    before = open_descriptors()
    yield
    require_closed_since(before)


@pytest.fixture(autouse=True)
def second_looks_take_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process. How long ago a first look was is still read from the store."""
    monkeypatch.setattr(absence, "pause", lambda deadline: True)


@pytest.fixture(autouse=True)
def nothing_concealed(monkeypatch: pytest.MonkeyPatch) -> None:
    """What one test's clouds.yaml made secret is none in the next test."""
    monkeypatch.setattr(scrub, "_concealed", {})
    monkeypatch.setattr(scrub, "_ready", None)


@pytest.fixture(autouse=True)
def etc(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where `install` looks for udev and networkd in the place of /etc: there is neither."""
    folder = tmp_path_factory.mktemp("etc")
    monkeypatch.setattr(device_rules, "ETC", folder)
    return folder
