"""What a setting's value must be. That each is refused with its source: test_config.py."""

from __future__ import annotations

from pathlib import Path

import pytest
import trustme

from docker_kernel.checks import parse_size, read_certificates
from docker_kernel.errors import SettingError


@pytest.mark.parametrize(
    ("text", "size"),
    [("64m", 64 << 20), ("2g", 2 << 30), ("2GB", 2 << 30), ("1 G", 1 << 30), ("100000000", 10**8)],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size("memory", text) == size


def test_of_a_file_with_certificates_nothing_else_is_read(tmp_path: Path) -> None:
    """X3: a key that stands there as well stays here."""
    authority = trustme.CA()
    key, certificate = authority.private_key_pem.bytes(), authority.cert_pem.bytes()
    file = tmp_path / "all.pem"
    file.write_bytes(key + b"# a note\n" + certificate + certificate)
    assert read_certificates("extra_ca", str(file)) == certificate + certificate


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"0\x82\x01\n", "no certificate in it"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----", "can't be read"),
        (b"-----BEGIN CERTIFICATE-----\n\xff\n-----END CERTIFICATE-----", "can't be read"),
    ],
)
def test_a_file_without_certificates(tmp_path: Path, text: bytes, words: str) -> None:
    file = tmp_path / "none"
    file.write_bytes(text)
    with pytest.raises(SettingError, match=words) as caught:
        read_certificates("extra_ca", str(file))
    assert "openssl x509 -inform der" in caught.value.remedy
