"""What installers say, in sentences."""

from __future__ import annotations

import pytest

from qgis_maskdino.backend.installation.failure import explain_installation


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device", "disk"),
        ("OSError('Tunnel connection failed: 407 Proxy Authentication Required')", "network"),
        ("SSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed", "network"),
        ("cause: tunnel error: proxy authorization required", "network"),
        ("NameResolutionError: [Errno -3] Temporary failure in name resolution", "network"),
        ("ERROR: No matching distribution found for torch<3,>=2.10", "index"),
        ("error: [Errno 2] No such file: 'C:\\Users\\a' HINT: This error might be Windows Long Path support", "path"),
        ("ERROR: Could not install packages: [WinError 5] Access is denied: 'torch_cpu.dll'", "permission"),
        ("Something new\nERROR: the sky fell", "install"),
    ],
)
def test_a_failure_is_a_sentence(said, code):
    error = explain_installation("Installing PyTorch", said)
    assert error.code == code
    assert error.message.startswith("Installing PyTorch: ")
    assert error.hint
    assert error.details == said
