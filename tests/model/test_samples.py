"""Real objects: what conforms is accepted as it is, what deviates is refused at the right places."""

import json
import re
from decimal import Decimal

import pytest

from roamd.errors import Malformed
from roamd.model.body import compact, tree
from roamd.model.objects import Checked, CheckedRecord, check_object, check_peer_object, check_peer_record, check_record
from roamd.model.ocpi.check import check
from tests.model.samples import FEED_OF, REASON, Sample, samples

SAMPLES = samples()
GOOD = [sample for sample in SAMPLES if not sample.defects]
BAD = [sample for sample in SAMPLES if sample.defects]

pytestmark = pytest.mark.skipif(not SAMPLES, reason=REASON)


def owner(sample: Sample) -> frozenset[str]:
    value = json.loads(sample.data)
    return frozenset({(value["country_code"] + value["party_id"]).upper()})


def accept(sample: Sample) -> Checked | CheckedRecord:
    if sample.kind == "CDR":
        return check_record(sample.ocpi, sample.data, own_parties=owner(sample))
    return check_object(FEED_OF[sample.kind], sample.ocpi, sample.data, own_parties=owner(sample))


def number_texts(data: bytes) -> list[str]:
    found: list[str] = []
    json.loads(data, parse_float=found.append, parse_int=found.append)
    return found


@pytest.mark.parametrize("sample", GOOD, ids=lambda sample: sample.name)
def test_a_conforming_object_is_accepted_with_equal_values_and_number_texts(sample: Sample) -> None:
    checked = accept(sample)
    assert json.loads(checked.body, parse_float=Decimal) == json.loads(sample.data, parse_float=Decimal)
    assert number_texts(checked.body) == number_texts(sample.data)
    assert list(json.loads(checked.body)) == list(json.loads(sample.data))
    assert compact(checked.body) == checked.body
    outside_strings = re.sub(rb'"(?:[^"\\]|\\.)*"', b'""', checked.body)
    assert not re.search(rb"\s", outside_strings)


@pytest.mark.parametrize("sample", GOOD, ids=lambda sample: sample.name)
def test_the_peer_accepts_what_was_accepted_here_under_the_same_key(sample: Sample) -> None:
    ours = accept(sample)
    if isinstance(ours, CheckedRecord):
        assert check_peer_record(sample.ocpi, ours.body) == ours
    else:
        assert check_peer_object(FEED_OF[sample.kind], sample.ocpi, ours.body, claimed=ours.key) == ours


@pytest.mark.parametrize("sample", BAD, ids=lambda sample: sample.name)
def test_a_deviating_object_is_refused_at_every_place_that_the_index_names(sample: Sample) -> None:
    expected = {defect.partition(":")[0] for defect in sample.defects if "unknown field" not in defect}
    assert {fault.path for fault in check(sample.kind, sample.ocpi, tree(compact(sample.data))).faults} == expected
    if sample.kind != "EVSE":
        with pytest.raises(Malformed) as refused:
            accept(sample)
        assert {fault.path for fault in refused.value.faults} == expected
