"""The proxy of QGIS's settings, for programs that are no part of QGIS; its password never reaches a log."""

from __future__ import annotations

from urllib.parse import quote

from qgis.core import QgsNetworkAccessManager, QgsSettings
from qgis.PyQt.QtCore import QProcessEnvironment, QUrl
from qgis.PyQt.QtNetwork import QNetworkProxy, QNetworkProxyFactory, QNetworkProxyQuery

_SCHEMES = {
    QNetworkProxy.ProxyType.HttpProxy: "http",
    QNetworkProxy.ProxyType.HttpCachingProxy: "http",
    QNetworkProxy.ProxyType.Socks5Proxy: "socks5",
}


class Proxy:
    """How packages are fetched from here.

    Attributes:
        url: the proxy's address with its credentials; None where there is none.
        excluded: hosts that are reached without it.
        secrets: what must not appear in a log.
    """

    def __init__(self, url: str | None, excluded: list[str], secrets: list[str]) -> None:
        self.url = url
        self.excluded = excluded
        self.secrets = secrets

    @classmethod
    def of_qgis(cls, target: str = "https://pypi.org/") -> Proxy:
        """Read the settings, those that QGIS leaves to the system included; the authentication manager's passwords too."""
        proxy = QNetworkProxy(QgsNetworkAccessManager.instance().fallbackProxy())
        if not QgsSettings().value("proxy/proxyEnabled", False, type=bool):
            return cls(None, [], [])
        if proxy.type() == QNetworkProxy.ProxyType.DefaultProxy:
            found = QNetworkProxyFactory.systemProxyForQuery(QNetworkProxyQuery(QUrl(target)))
            proxy = found[0] if found else proxy
        scheme = _SCHEMES.get(proxy.type())
        if scheme is None or not proxy.hostName():
            return cls(None, [], [])
        user, password = quote(proxy.user(), safe=""), quote(proxy.password(), safe="")
        credentials = f"{user}:{password}@" if password else f"{user}@" if user else ""
        port = f":{proxy.port()}" if proxy.port() else ""
        excluded = [QUrl(url).host() or url for url in _excluded_urls()]
        return cls(f"{scheme}://{credentials}{proxy.hostName()}{port}", excluded, [password, proxy.password()])

    def set_in(self, variables: QProcessEnvironment) -> None:
        """Let a program know; what the system's own variables say stays where QGIS has no proxy."""
        if self.url is None:
            return
        for name in ("http_proxy", "https_proxy", "all_proxy"):
            variables.insert(name, self.url)
            variables.insert(name.upper(), self.url)
        if self.excluded:
            variables.insert("no_proxy", ",".join(self.excluded))
            variables.insert("NO_PROXY", ",".join(self.excluded))

    def without_secrets(self, line: str) -> str:
        """Return a line that can be shown."""
        for secret in self.secrets:
            if secret:
                line = line.replace(secret, "***")
        return line


def _excluded_urls() -> list[str]:
    settings = QgsSettings()
    urls = [*settings.value("proxy/proxyExcludedUrls", [], type=list), *settings.value("proxy/noProxyUrls", [], type=list)]
    return [url for url in map(str, urls) if url]
