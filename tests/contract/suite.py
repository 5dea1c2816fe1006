"""All behaviours. A module that binds them defines the fixture `backend` and imports these."""

from __future__ import annotations

from tests.contract.addresses import Addresses, AddressRefusals
from tests.contract.calls import Calls, Failures
from tests.contract.floating import FloatingIps
from tests.contract.listing import Listing
from tests.contract.overlap import Overlap
from tests.contract.pairs import Pairs
from tests.contract.ports import Ports, Revisions
from tests.contract.tags import Tags


class TestAddresses(Addresses): ...


class TestAddressRefusals(AddressRefusals): ...


class TestCalls(Calls): ...


class TestFailures(Failures): ...


class TestFloatingIps(FloatingIps): ...


class TestListing(Listing): ...


class TestOverlap(Overlap): ...


class TestPairs(Pairs): ...


class TestPorts(Ports): ...


class TestRevisions(Revisions): ...


class TestTags(Tags): ...
