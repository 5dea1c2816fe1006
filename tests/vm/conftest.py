from tests.openstack.conftest import lab  # noqa
