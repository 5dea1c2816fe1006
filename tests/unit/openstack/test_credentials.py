"""clouds.yaml of every shape, and logins that fail: which error, and never a secret in it."""

from __future__ import annotations

import logging
import os
import traceback
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openstack.config import loader

from neutron_cni.openstack import patience as module
from neutron_cni.openstack.errors import CloudError, Unauthorized, Unreachable
from neutron_cni.openstack.patience import CONNECT_TRIES
from neutron_cni.values.deadline import Deadline
from neutron_cni.values.errors import Code
from tests.fakes import FakeKeystone, FakeNeutron, Fault
from tests.fakes.keystone import SECRET
from tests.support.openstack_doubles import PASSWORD, Waits, client_from, clouds_yaml, get, put

GOOD = f"""clouds:
  c:
    auth:
      auth_url: http://127.0.0.1:1/v3
      username: u
      password: {PASSWORD}
      project_name: p
      user_domain_name: Default
      project_domain_name: Default
"""

NOT_YAML: dict[str, str | bytes] = {
    "tab": GOOD.replace("    auth:", "\tauth:"),
    "open quote": GOOD + '    x: "abc',
    "password like a tag": GOOD.replace(PASSWORD, f"!{PASSWORD}"),
    "password like an alias": GOOD.replace(PASSWORD, f"*{PASSWORD}"),
    "password with a percent sign": GOOD.replace(PASSWORD, f"%{PASSWORD}"),
    "password with an at sign": GOOD.replace(PASSWORD, f"@{PASSWORD}"),
    "password with a brace": GOOD.replace(PASSWORD, f"{{{PASSWORD}"),
    "password with a colon": GOOD.replace(PASSWORD, f"{PASSWORD}: x: y"),
    "binary": b"\x00\x01\x02",
    "latin-1": GOOD.replace("username: u", "username: ü").encode("latin-1"),
    "utf-16": GOOD.encode("utf-16"),
    "deep": "[" * 500,
}
NO_CLOUDS = {
    "empty": "",
    "null": "null",
    "a list": "- a\n",
    "a string": "hello",
    "a number": "5",
    "no clouds": "cloud: {}",
    "clouds a list": "clouds: [c]",
    "clouds a string": "clouds: c",
    "clouds null": "clouds:",
    "loop": "&a [*a]",
}
WRONG = {
    "another name": GOOD.replace("  c:", "  d:"),
    "cloud null": "clouds: {c: }",
    "cloud a string": "clouds: {c: xyz}",
    "cloud a list": "clouds: {c: [1]}",
    "auth a string": f"clouds: {{c: {{auth: {PASSWORD}}}}}",
    "auth a list": f"clouds: {{c: {{auth: [{PASSWORD}]}}}}",
    "auth null": "clouds: {c: {auth: }}",
    "no auth": "clouds: {c: {region_name: r}}",
    "unknown auth_type": GOOD + "    auth_type: nosuch\n",
    "auth_type a number": GOOD + "    auth_type: 5\n",
    "auth_type a list": GOOD + "    auth_type: [a]\n",
    "no auth_url": GOOD.replace("auth_url: http://127.0.0.1:1/v3", "x: y"),
    "auth_url a number": GOOD.replace("http://127.0.0.1:1/v3", "5"),
    "auth_url a list": GOOD.replace("http://127.0.0.1:1/v3", "[a]"),
    "profile a list": GOOD + "    profile: [a]\n",
    "api_timeout a word": GOOD + "    api_timeout: soon\n",
    "interface a mapping": GOOD + "    interface: {a: b}\n",
    "keys twice": "clouds: {c: {a-b: 1, a_b: 2}}",
    "cache a number": GOOD + "cache: 5\n",
    "secret without id": GOOD.replace("username: u", "x: y").replace(
        "password:", "application_credential_secret:"
    )
    + "    auth_type: v3applicationcredential\n",
}
NO_ENDPOINT = {
    "none": "clouds: {c: {auth_type: none}}",
    "a list": "clouds: {c: {auth_type: none, auth: {endpoint: [1]}}}",
    "a number": "clouds: {c: {auth_type: none, auth: {endpoint: 5}}}",
    "no url": "clouds: {c: {auth_type: none, auth: {endpoint: neutron}}}",
    "no host": "clouds: {c: {auth_type: none, auth: {endpoint: 'http://'}}}",
    "half an IPv6 address": "clouds: {c: {auth_type: none, auth: {endpoint: 'http://[::1'}}}",
    "override a number": "clouds: {c: {auth_type: none, network_endpoint_override: 5}}",
}


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("OS_"):
            monkeypatch.delenv(name)


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> Waits:
    waits = Waits()
    monkeypatch.setattr(module, "time", waits)
    return waits


def refused(file: str, cloud: str | None = "c") -> Unauthorized:
    """What building a client raises."""
    with pytest.raises(Unauthorized) as caught:
        client_from(cloud, file)
    assert caught.value.code == Code.CREDENTIALS
    return caught.value


@pytest.mark.parametrize("where", ["cloudsFile", "clouds.yaml", "secure.yaml", "a vendor's"])
def test_a_fifo_in_the_place_of_a_file_is_an_error_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """openstacksdk would wait for somebody to write into it, whatever the deadline."""
    fifo = tmp_path / "pipe.yaml"
    os.mkfifo(fifo)
    good = tmp_path / "clouds.yaml"
    good.write_text(GOOD)
    names = {"clouds.yaml": "CONFIG_FILES", "secure.yaml": "SECURE_FILES"}
    if where == "cloudsFile":
        good = fifo
    else:
        monkeypatch.setattr(loader, names.get(where, "VENDOR_FILES"), [str(fifo)])
    assert f"{fifo}: is a FIFO" in refused(str(good)).message


@pytest.mark.parametrize("key", ["cacert", "cert", "key"])
def test_a_fifo_in_the_place_of_a_certificate_is_an_error_at_once(tmp_path: Path, key: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "clouds.yaml").write_text(f"{GOOD}    {key}: {tmp_path / 'pipe'}\n")
    assert "is a FIFO" in refused(str(tmp_path / "clouds.yaml")).message


def test_a_folder_of_certificates_is_fine(tmp_path: Path) -> None:
    (tmp_path / "clouds.yaml").write_text(f"{GOOD}    cacert: {tmp_path}\n")
    client_from("c", str(tmp_path / "clouds.yaml"))


def test_a_fifo_that_the_environment_names_is_an_error_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    monkeypatch.setenv("OS_CLIENT_SECURE_FILE", str(tmp_path / "pipe.yaml"))
    (tmp_path / "clouds.yaml").write_text(GOOD)
    assert "is a FIFO" in refused(str(tmp_path / "clouds.yaml")).message


def test_a_clouds_yaml_without_end_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "clouds.yaml").symlink_to("/dev/zero")
    assert "is a device" in refused(str(tmp_path / "clouds.yaml")).message


def told(error: BaseException, caplog: pytest.LogCaptureFixture) -> str:
    """All that could reach a log: the message, the trace, and what libraries logged."""
    return str(error) + "".join(traceback.format_exception(error)) + caplog.text


class TestFiles:
    """A clouds.yaml that can't be used: Unauthorized, the file named, no secret anywhere."""

    @pytest.mark.parametrize("text", NOT_YAML.values(), ids=NOT_YAML)
    def test_that_are_not_yaml(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str | bytes
    ) -> None:
        caplog.set_level(logging.DEBUG)
        file = clouds_yaml(tmp_path, text)
        error = refused(file)
        assert file in str(error)
        assert "not valid YAML" in error.message
        assert PASSWORD not in told(error, caplog)

    def test_the_place_of_the_mistake_is_told(self, tmp_path: Path) -> None:
        error = refused(clouds_yaml(tmp_path, NOT_YAML["password like an alias"]))
        assert "line 6, column 17" in error.message

    @pytest.mark.parametrize("text", NO_CLOUDS.values(), ids=NO_CLOUDS)
    def test_without_clouds(self, tmp_path: Path, text: str) -> None:
        file = clouds_yaml(tmp_path, text)
        error = refused(file)
        assert file in error.message
        assert "clouds" in error.message

    @pytest.mark.parametrize("text", WRONG.values(), ids=WRONG)
    def test_with_a_cloud_that_can_not_be_used(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str
    ) -> None:
        caplog.set_level(logging.DEBUG)
        file = clouds_yaml(tmp_path, text)
        error = refused(file)
        assert file in str(error)
        assert "cloud c" in error.message
        assert PASSWORD not in told(error, caplog)

    @pytest.mark.parametrize("text", NO_ENDPOINT.values(), ids=NO_ENDPOINT)
    def test_with_an_endpoint_that_is_none(self, tmp_path: Path, text: str, waits: Waits) -> None:
        client = client_from("c", clouds_yaml(tmp_path, text))
        with pytest.raises(Unauthorized, match="endpoint"):
            get(client)

    def test_that_are_missing(self, tmp_path: Path) -> None:
        error = refused(str(tmp_path / "nowhere.yaml"))
        assert "nowhere.yaml: No such file" in error.message

    def test_that_are_a_folder(self, tmp_path: Path) -> None:
        assert str(tmp_path) in refused(str(tmp_path)).message

    def test_an_unknown_cloud_is_named(self, tmp_path: Path) -> None:
        assert "nosuch" in refused(clouds_yaml(tmp_path, GOOD), "nosuch").message

    def test_another_broken_cloud_is_no_hindrance(self, tmp_path: Path) -> None:
        client_from("c", clouds_yaml(tmp_path, f"{GOOD}  d:\n  e: 5\n"))

    def test_json_will_do(self, tmp_path: Path) -> None:
        file = tmp_path / "clouds.json"
        file.write_text('{\n\t"clouds": {"c": {"auth_type": "none"}}\n}')
        client_from("c", str(file))
        file.write_text("{")
        assert "clouds.json" in refused(str(file)).message

    @settings(
        max_examples=150,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )
    @given(data=st.data())
    def test_any_value_anywhere(self, tmp_path: Path, data: st.DataObject) -> None:
        """One node of a good file replaced, or a setting added: works, or Unauthorized."""
        content = yaml.safe_load(GOOD)
        cloud = content["clouds"]["c"]
        where = data.draw(st.sampled_from([content, content["clouds"], cloud, cloud["auth"]]))
        where[data.draw(st.sampled_from([*where, *EXTRA]))] = data.draw(VALUES)
        said = ""
        try:
            client_from("c", clouds_yaml(tmp_path, yaml.safe_dump(content)))
        except Unauthorized as error:
            said = str(error)
        assert PASSWORD not in said


EXTRA = [
    "auth",
    "auth_type",
    "region_name",
    "regions",
    "verify",
    "cacert",
    "cert",
    "key",
    "interface",
    "network_endpoint_override",
    "network_api_version",
    "api_timeout",
    "application_credential_id",
    "application_credential_secret",
    "identity_api_version",
    "networks",
    "force_ipv4",
]
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["", "a", "v3"])
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "auth_url", "name", "password"]), inner, max_size=3)
    ),
    max_leaves=5,
)


def with_keystone(folder: Path, url: str, secret: str = SECRET, **more: Any) -> str:
    """A clouds.yaml with an application credential."""
    auth = {
        "auth_url": url,
        "application_credential_id": "id",
        "application_credential_secret": secret,
    }
    cloud = {"auth_type": "v3applicationcredential", "auth": auth, "region_name": "RegionOne"}
    return clouds_yaml(folder, yaml.safe_dump({"clouds": {"c": cloud | more}}))


def with_password(folder: Path, url: str, password: str = SECRET) -> str:
    """A clouds.yaml with user and password; keystoneauth asks Keystone for its versions first."""
    auth = {
        "auth_url": url,
        "username": "u",
        "password": password,
        "project_name": "p",
        "user_domain_name": "Default",
        "project_domain_name": "Default",
    }
    return clouds_yaml(folder, yaml.safe_dump({"clouds": {"c": {"auth": auth}}}))


class TestLogins:
    """Keystone's answers, and none."""

    def test_one_login_serves_many_calls_and_asks_for_no_versions(
        self, neutron: FakeNeutron, keystone: FakeKeystone, tmp_path: Path
    ) -> None:
        client = client_from("c", with_keystone(tmp_path, f"{keystone.url}/v3"))
        for _ in range(3):
            assert get(client) == {"ports": []}
        assert keystone.logins == 1
        assert neutron.calls == {"GET /ports": 3}
        assert client.project_id(Deadline.after(5)) == "5" * 32

    @pytest.mark.parametrize("make", [with_keystone, with_password])
    @pytest.mark.parametrize("path", ["", "/", "/v3", "/v3/"])
    def test_forms_of_auth_url(
        self, keystone: FakeKeystone, tmp_path: Path, make: Any, path: str
    ) -> None:
        if make is with_keystone and path in ("", "/"):
            path = "/v3"  # this plugin takes it as it is
        client = client_from("c", make(tmp_path, keystone.url + path))
        assert get(client) == {"ports": []}

    @pytest.mark.parametrize("make", [with_keystone, with_password])
    def test_a_wrong_secret_is_unauthorized_and_not_repeated(
        self,
        neutron: FakeNeutron,
        keystone: FakeKeystone,
        tmp_path: Path,
        caplog: pytest.LogCaptureFixture,
        make: Any,
    ) -> None:
        caplog.set_level(logging.DEBUG)
        client = client_from("c", make(tmp_path, f"{keystone.url}/v3", PASSWORD))
        calls: list[Callable[[], object]] = [
            lambda: get(client),
            lambda: put(client, "/ports/x"),
        ]
        for call in calls:
            with pytest.raises(Unauthorized) as caught:
                call()
            assert "cloud c" in str(caught.value)
            assert PASSWORD not in told(caught.value, caplog)
        assert keystone.logins == 2
        assert neutron.calls.total() == 0

    @pytest.mark.parametrize("make", [with_keystone, with_password])
    @pytest.mark.parametrize("path", ["", "/v3"])
    def test_no_keystone_is_unreachable(
        self, tmp_path: Path, waits: Waits, make: Any, path: str
    ) -> None:
        client = client_from("c", make(tmp_path, f"http://127.0.0.1:1{path}"))
        calls: list[Callable[[], object]] = [
            lambda: get(client),
            lambda: put(client, "/ports/x"),
            lambda: client.project_id(Deadline.after(5)),
        ]
        for call in calls:
            waits.clear()
            with pytest.raises(Unreachable, match="Keystone") as caught:
                call()
            assert caught.value.code == Code.TRY_AGAIN
            assert len(waits) == CONNECT_TRIES - 1

    @pytest.mark.parametrize("make", [with_keystone, with_password])
    @pytest.mark.parametrize("status", [500, 502, 503, 504])
    def test_a_failing_keystone_is_unreachable(
        self, keystone: FakeKeystone, tmp_path: Path, waits: Waits, make: Any, status: int
    ) -> None:
        keystone.status = status
        client = client_from("c", make(tmp_path, f"{keystone.url}/v3"))
        with pytest.raises(Unreachable, match="Keystone"):
            put(client, "/ports/x")

    def test_it_comes_back(self, keystone: FakeKeystone, tmp_path: Path, waits: Waits) -> None:
        keystone.status = 503
        waits.then = lambda: setattr(keystone, "status", None)
        client = client_from("c", with_keystone(tmp_path, f"{keystone.url}/v3"))
        assert get(client) == {"ports": []}

    @pytest.mark.parametrize("make", [with_keystone, with_password])
    def test_a_silent_keystone_does_not_hold_us(
        self, keystone: FakeKeystone, tmp_path: Path, make: Any
    ) -> None:
        """And what it never answered is not taken for an answer that Neutron lost.

        Who waited for Keystone's answer would get it: it comes in the end.
        """
        keystone.silent = True
        client = client_from("c", make(tmp_path, f"{keystone.url}/v3"))
        with pytest.raises(CloudError) as caught:
            put(client, "/ports/x", seconds=1.0)
        assert isinstance(caught.value, Unreachable)

    @pytest.mark.parametrize("make", [with_keystone, with_password])
    def test_a_silent_keystone_at_a_later_login_lost_no_answer_of_neutrons(
        self, keystone: FakeKeystone, neutron: FakeNeutron, tmp_path: Path, make: Any
    ) -> None:
        keystone.lifetime = timedelta(seconds=30)
        client = client_from("c", make(tmp_path, f"{keystone.url}/v3"))
        get(client)
        keystone.silent = True
        with pytest.raises(Unreachable, match="Keystone"):
            put(client, "/ports/x", seconds=0.8)
        assert neutron.calls == {"GET /ports": 1}

    def test_a_password_that_is_missing(self, keystone: FakeKeystone, tmp_path: Path) -> None:
        file = Path(with_password(tmp_path, f"{keystone.url}/v3"))
        file.write_text(file.read_text().replace(SECRET, ""))
        with pytest.raises(Unauthorized, match="password"):
            get(client_from("c", str(file)))

    def test_a_token_that_is_no_longer_good_is_replaced(
        self, neutron: FakeNeutron, keystone: FakeKeystone, tmp_path: Path
    ) -> None:
        client = client_from("c", with_keystone(tmp_path, f"{keystone.url}/v3"))
        get(client)
        keystone.token = neutron.token = "another"
        assert get(client) == {"ports": []}
        assert keystone.logins == 2

    def test_a_token_that_neutron_never_takes(
        self, neutron: FakeNeutron, keystone: FakeKeystone, tmp_path: Path
    ) -> None:
        neutron.token = "another"
        client = client_from("c", with_keystone(tmp_path, f"{keystone.url}/v3"))
        with pytest.raises(Unauthorized):
            get(client)

    def test_a_new_login_that_is_refused(
        self, neutron: FakeNeutron, keystone: FakeKeystone, tmp_path: Path
    ) -> None:
        """The application credential was deleted while we ran."""
        client = client_from("c", with_keystone(tmp_path, f"{keystone.url}/v3"))
        get(client)
        neutron.token, keystone.status = "another", 401
        with pytest.raises(Unauthorized):
            put(client, "/ports/x")

    def test_a_catalog_without_neutron(self, tmp_path: Path) -> None:
        with FakeKeystone(None) as keystone:
            client = client_from("c", with_keystone(tmp_path, f"{keystone.url}/v3"))
            with pytest.raises(Unauthorized, match="catalog"):
                get(client)

    def test_another_region(self, keystone: FakeKeystone, tmp_path: Path) -> None:
        file = with_keystone(tmp_path, f"{keystone.url}/v3", region_name="elsewhere")
        with pytest.raises(Unauthorized, match="region"):
            get(client_from("c", file))

    @pytest.mark.parametrize("path", ["", "/", "/v2.0", "/v2.0/"])
    def test_forms_of_neutrons_endpoint(
        self, neutron: FakeNeutron, keystone: FakeKeystone, tmp_path: Path, path: str
    ) -> None:
        keystone.network_url = neutron.url + path
        client = client_from("c", with_keystone(tmp_path, f"{keystone.url}/v3"))
        assert get(client) == {"ports": []}

    def test_without_authentication_there_is_no_project(
        self, neutron: FakeNeutron, tmp_path: Path
    ) -> None:
        client = client_from("fake", str(neutron.write_clouds_yaml(tmp_path)))
        assert client.project_id(Deadline.after(5)) == ""

    @pytest.mark.parametrize("status", [401, 403])
    def test_neutrons_own_refusals_hold_no_token(
        self, neutron: FakeNeutron, keystone: FakeKeystone, tmp_path: Path, status: int
    ) -> None:
        neutron.faults.add(Fault(status=status, times=-1))
        client = client_from("c", with_keystone(tmp_path, f"{keystone.url}/v3"))
        with pytest.raises(CloudError) as caught:
            get(client)
        assert caught.value.code == Code.CREDENTIALS
        assert keystone.token not in str(caught.value)
        assert SECRET not in str(caught.value)
