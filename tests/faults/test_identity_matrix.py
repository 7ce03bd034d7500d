"""Who gets a certificate and whom the broker believes; keys made on a box."""

from __future__ import annotations

import stat
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from deploy.fleet.enrolment.rules import EnrolmentRules
from device.errors import CheckError, InputError
from device.identity.enrolment import EnrolmentCode
from device.identity.own_key import OwnKey
from device.messaging.certificates import read_identity
from tests.authority import Authority
from tests.faults.identity_matrix import at_the_broker, enrolments


def test_certificates_go_to_the_right_party_alone(tmp_path: Path) -> None:
    verdicts = list(enrolments(tmp_path))
    assert len(verdicts) == 20
    assert all(verdict.sound for verdict in verdicts), [str(verdict) for verdict in verdicts]


def test_the_broker_obeys_a_revocation_and_a_renewal_costs_no_record(tmp_path: Path) -> None:
    verdicts = list(at_the_broker(tmp_path))
    assert len(verdicts) == 3
    assert all(verdict.sound for verdict in verdicts), [str(verdict) for verdict in verdicts]


@pytest.fixture(scope="module")
def rules(tmp_path_factory: pytest.TempPathFactory) -> EnrolmentRules:
    return EnrolmentRules(Authority.made(tmp_path_factory.mktemp("authority")).folder)


def test_the_key_stays_on_the_box_and_a_power_cut_leaves_a_pair_that_fits(tmp_path: Path, rules: EnrolmentRules) -> None:
    key = OwnKey(tmp_path / "identity")
    request = key.request("box-7")
    assert "PRIVATE" not in request
    authority = (rules.signer.folder / "authority.crt").read_text()
    certificate = rules.sign_file("box-7", request)
    key.install(certificate, authority, "box-7")
    assert stat.S_IMODE(key.pair.stat().st_mode) == 0o600
    assert read_identity(key.pair.read_text()).common_name == "box-7"
    assert sorted(path.name for path in key.folder.iterdir()) == ["authority.crt", "identity.pem"]
    in_use = key.pair.read_bytes()
    # Asked for the next one and cut off: the pair in use is untouched, the request's key is the same.
    keys = {
        x509.load_pem_x509_csr(one.request("box-7").encode())
        .public_key()
        .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        for one in (key, OwnKey(key.folder))
    }
    assert len(keys) == 1
    assert key.pair.read_bytes() == in_use
    for wrong in (certificate, rules.sign_file("box-8", key.request("box-8"))):
        with pytest.raises(CheckError, match="another"):
            key.install(wrong, None, "box-7")
    with pytest.raises(CheckError, match="not the fleet's"):
        key.install("nothing", None, "box-7")
    assert key.pair.read_bytes() == in_use


def test_a_certificate_is_renewed_with_a_third_of_its_time_left(tmp_path: Path, rules: EnrolmentRules) -> None:
    key = OwnKey(tmp_path / "identity")
    assert not key.is_due()
    key.install(rules.sign_file("box-9", key.request("box-9")), (rules.signer.folder / "authority.crt").read_text(), "box-9")
    certificate = key.certificate()
    assert certificate is not None
    assert not key.is_due(certificate.not_valid_after_utc - timedelta(days=40))
    assert key.is_due(certificate.not_valid_after_utc - timedelta(days=25))


@pytest.mark.parametrize("text", ["", "AAAA-BBBB", "0" * 32])
def test_what_is_no_code_is_refused_before_anybody_is_asked(text: str) -> None:
    with pytest.raises(InputError, match="no enrolment code"):
        EnrolmentCode.parsed(text)
    code = EnrolmentCode("A" * 16, "B" * 16)
    assert EnrolmentCode.parsed(str(code).lower()) == code


@pytest.mark.parametrize("device_id", ["authority", "collector", "Box", "a/b", ""])
def test_a_name_that_means_something_else_at_the_broker_gets_no_code(rules: EnrolmentRules, device_id: str) -> None:
    with pytest.raises(InputError, match="not a device's id"):
        rules.new_code(device_id, "localhost", timedelta(hours=1))
