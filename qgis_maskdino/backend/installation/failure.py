"""Why packages could not be installed, in a sentence, out of what the installer wrote."""

from __future__ import annotations

import re

from qgis_maskdino.backend.error import EngineError
from qgis_maskdino.translation import tr


def explain_installation(step: str, output: str) -> EngineError:
    """Return an error that names the cause and the way out.

    Args:
        step: what was being done, as a person would say it.
        output: the last lines of the installer.
    """
    for pattern, code, message, hint in _causes():
        if re.search(pattern, output, re.IGNORECASE):
            return EngineError(f"{step}: {message}", code=code, hint=hint, details=output)
    said = [line for line in output.splitlines() if "error" in line.lower()] or output.splitlines() or [""]
    return EngineError(
        f"{step}: {said[-1].strip()[:300]}", code="install", hint=tr("The whole log is under Details."), details=output
    )


def _causes() -> list[tuple[str, str, str, str]]:
    """List pattern, code, message and hint, the most telling first."""
    return [
        (
            r"No space left|Errno 28|not enough space|os error 112",
            "disk",
            tr("the disk is full."),
            tr("Free some space, or choose another folder by the environment variable MASKDINO_ENVIRONMENT."),
        ),
        (
            r"\b407\b|Proxy Authentication|proxy authorization",
            "network",
            tr("the proxy refuses the user name or the password."),
            tr("Correct them under Settings > Options > Network."),
        ),
        (
            r"CERTIFICATE_VERIFY_FAILED|SSLError|invalid peer certificate|SSL module is not available",
            "network",
            tr("the server's certificate is not trusted here, as where a company looks into its traffic."),
            tr("Ask its administrators for the certificate and set PIP_CERT to its file, or set an index of your own."),
        ),
        (
            r"ProxyError|Cannot connect to proxy|tunneling|Missing dependencies for SOCKS",
            "network",
            tr("the proxy could not be used."),
            tr("Check it under Settings > Options > Network."),
        ),
        (
            r"name resolution|getaddrinfo|NewConnectionError|dns error|Connection refused|Network is unreachable|timed out"
            r"|Max retries exceeded|error sending request|Failed to fetch",
            "network",
            tr("the package index cannot be reached."),
            tr("Check the connection and the proxy under Settings > Options > Network, or set another package index."),
        ),
        (
            r"No matching distribution|no version of|No solution found|Could not find a version",
            "index",
            tr("the package index has no package that fits this Python."),
            tr("Check the package index in the plugin's settings, or install Python 3.10 to 3.13."),
        ),
        (
            r"long path|path too long|os error 206",
            "path",
            tr("Windows refuses paths of this length."),
            tr("Choose a short folder by the environment variable MASKDINO_ENVIRONMENT, such as C:\\maskdino."),
        ),
        (
            r"Permission denied|Access is denied|Read-only file system|os error 5\b|os error 13\b",
            "permission",
            tr("a file cannot be written; another program, often a virus scanner, may hold it."),
            tr("Close other QGIS windows and try again."),
        ),
    ]
