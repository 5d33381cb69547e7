"""QGIS's proxy for programs that are no part of QGIS, and none of its password in a log."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from qgis.core import QgsNetworkAccessManager, QgsSettings
from qgis.PyQt.QtCore import QProcessEnvironment

from qgis_maskdino import settings
from qgis_maskdino.backend.error import EngineError
from qgis_maskdino.backend.installation import installer
from qgis_maskdino.backend.installation.network_proxy import Proxy
from tests.qgis_maskdino.backend.package_server import RefusingProxy, serving


@pytest.fixture
def proxy_settings():
    """Let QGIS know of a proxy, and forget it after the test."""

    def set_proxy(host: str, port: int, user: str, password: str) -> None:
        values = {"proxyEnabled": True, "proxyType": "HttpProxy", "proxyHost": host, "proxyPort": str(port)}
        for key, value in {**values, "proxyUser": user, "proxyPassword": password}.items():
            QgsSettings().setValue(f"proxy/{key}", value)
        QgsNetworkAccessManager.instance().setupDefaultProxyAndCache()

    yield set_proxy
    QgsSettings().remove("proxy")
    QgsNetworkAccessManager.instance().setupDefaultProxyAndCache()


def test_there_is_none():
    assert Proxy.of_qgis().url is None


def test_it_reaches_the_installer_but_no_log(proxy_settings):
    proxy_settings("proxy.example", 3128, "jürgen", "p@ss/wörd")
    proxy = Proxy.of_qgis()
    variables = QProcessEnvironment()
    proxy.set_in(variables)
    assert variables.value("https_proxy") == "http://j%C3%BCrgen:p%40ss%2Fw%C3%B6rd@proxy.example:3128"
    assert variables.value("HTTPS_PROXY") == variables.value("http_proxy") == variables.value("https_proxy")
    line = f"Cannot connect to {proxy.url}, tried p@ss/wörd"
    assert proxy.without_secrets(line) == "Cannot connect to http://j%C3%BCrgen:***@proxy.example:3128, tried ***"


def test_one_that_refuses_the_password(proxy_settings, tmp_path, monkeypatch):
    monkeypatch.setattr(installer, "find_uv", lambda: str(Path(sys.executable).with_name("uv")))
    settings.set_package_index("https://packages.example/simple")
    (tmp_path / "requirements.txt").write_text("torch>=2.10,<3\n")
    lines = []
    with serving(RefusingProxy) as where:
        host, port = where.split(":")
        proxy_settings(host, int(port), "me", "secret-of-mine")
        installing = installer.Installer(
            str(tmp_path / "environment"), on_log=lines.append, on_progress=lambda *progress: None, is_cancelled=bool
        )
        with pytest.raises(EngineError, match="refuses the user name or the password") as caught:
            installing.install(str(tmp_path / "requirements.txt"), anew=True)
    assert set(RefusingProxy.given) == {"me:secret-of-mine"}
    assert "secret-of-mine" not in "\n".join([*lines, str(caught.value), caught.value.details])
