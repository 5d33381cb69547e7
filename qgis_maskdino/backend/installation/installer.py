"""Make a Python environment and install packages in it, with uv where it is, else with venv and pip."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Sequence

from qgis_maskdino import settings
from qgis_maskdino.backend.error import EngineError
from qgis_maskdino.backend.installation.base_python import NEWEST, OLDEST, find_python, find_uv
from qgis_maskdino.backend.installation.failure import explain_installation
from qgis_maskdino.backend.installation.network_proxy import Proxy
from qgis_maskdino.backend.installation.package_index import cuda_of_driver, torch_index
from qgis_maskdino.backend.installation.progress import InstallationProgress
from qgis_maskdino.backend.program import ProgramResult, run_program
from qgis_maskdino.backend.variables import engine_variables
from qgis_maskdino.translation import tr

# Fractions of the whole at which the steps begin, by how long they take.
_MAKE, _TORCH, _REST, _END = 0.0, 0.05, 0.6, 0.95
_PIP = ["-I", "-m", "pip", "install", "--no-input", "--no-warn-script-location"]


class Installer:
    """One installation, in a worker thread.

    Args:
        folder: where the environment goes; it does not exist yet.
        on_log: called with each line, passwords left out.
        on_progress: called with the fraction that is done and what is being done.
        is_cancelled: asked several times a second.
    """

    def __init__(
        self,
        folder: str,
        *,
        on_log: Callable[[str], None],
        on_progress: Callable[[float, str], None],
        is_cancelled: Callable[[], bool],
    ) -> None:
        self._folder = folder
        self._on_log = on_log
        self._on_progress = on_progress
        self._is_cancelled = is_cancelled
        self._index = settings.package_index()
        self._proxy = Proxy.of_qgis(self._index or "https://pypi.org/")
        self._uv = find_uv()
        self._python = os.path.join(folder, *(("Scripts", "python.exe") if sys.platform == "win32" else ("bin", "python")))

    def can_update(self) -> bool:
        """Return whether packages can be added to what is there: uv makes environments without a pip, and may be gone."""
        return self._uv is not None or self._run(self._python, ["-I", "-m", "pip", "--version"]).status == 0

    def install(self, requirements: str, *, anew: bool) -> bool:
        """Install what a list of requirements names. Return False where it was cancelled.

        Args:
            requirements: the list, a file.
            anew: whether the environment is still to be made.

        Raises:
            EngineError: a step failed.
        """
        if anew:
            self._on_progress(_MAKE, tr("Making a Python environment in {}").format(self._folder))
            if not self._make():
                return False
        with open(requirements, encoding="utf-8") as file:
            torch = [line.strip() for line in file if re.match(r"torch(vision)?\b", line)]
        return self._install_torch(torch) and self._packages(
            tr("Installing the other packages"), ["-r", requirements], self._index_of(None), (_REST, _END)
        )

    def _make(self) -> bool:
        step = tr("The environment could not be made")
        if self._uv:
            self._on_log(f"uv: {self._uv}")
            # uv takes a Python of this machine, and fetches one where there is none that fits.
            version = f">={OLDEST[0]}.{OLDEST[1]},<{NEWEST[0]}.{NEWEST[1] + 1}"
            return self._done(step, self._run(self._uv, ["venv", "--no-project", "--python", version, self._folder]))
        python = find_python(on_log=self._on_log)
        self._on_log(f"Python: {python}")
        if not self._done(step, self._run(python, ["-I", "-m", "venv", self._folder])):
            return False
        # The pip that came with Python may be years old; newer ones trust the system's certificates and report progress. An
        # index without pip is no reason to give up: the old one installs too.
        return not self._run(self._python, [*_PIP, "--upgrade", *self._index_of(None), "pip"]).cancelled

    def _install_torch(self, torch: list[str]) -> bool:
        """Install the build of PyTorch that fits this machine, from PyPI where PyTorch's own index cannot be used."""
        cuda = cuda_of_driver()
        step = tr("Installing PyTorch for NVIDIA graphics cards") if cuda else tr("Installing PyTorch")
        special = None if self._index else torch_index(cuda)
        try:
            return self._packages(step, torch, self._index_of(special), (_TORCH, _REST))
        except EngineError as error:
            if special is None or error.code not in ("network", "index"):
                raise
            self._on_log(f"{special} cannot be used ({error.message}); PyPI has PyTorch too.")
        return self._packages(step, torch, self._index_of(None), (_TORCH, _REST))

    def _packages(self, step: str, what: Sequence[str], index: list[str], span: tuple[float, float]) -> bool:
        self._on_progress(span[0], step)
        if self._uv:
            program, arguments = self._uv, ["pip", "install", "--python", self._python]
        else:
            program, arguments = self._python, [*_PIP, *self._progress_of_pip()]
        progress = InstallationProgress(step, span, self._on_progress)
        return self._done(step, self._run(program, [*arguments, *index, *what], progress))

    def _progress_of_pip(self) -> list[str]:
        """Let pip count bytes, from 24.1 on; before, it draws for terminals alone."""
        said = re.match(r"pip (\d+)\.(\d+)", self._run(self._python, ["-I", "-m", "pip", "--version"]).output)
        counts = said is not None and (int(said[1]), int(said[2])) >= (24, 1)
        return ["--progress-bar", "raw"] if counts else []

    def _index_of(self, special: str | None) -> list[str]:
        url = special or self._index
        # For uv, a default index of the user's own would come before --index-url.
        return ["--default-index" if self._uv else "--index-url", url] if url else []

    def _done(self, step: str, result: ProgramResult) -> bool:
        if result.cancelled:
            return False
        if result.status != 0:
            raise explain_installation(step, result.output)
        return True

    def _run(self, program: str, arguments: list[str], progress: InstallationProgress | None = None) -> ProgramResult:
        variables = engine_variables()
        self._proxy.set_in(variables)
        variables.insert("PIP_DISABLE_PIP_VERSION_CHECK", "1")
        variables.insert("PIP_RETRIES", "2")  # five, each waiting longer, look like a program that hangs
        variables.insert("PYTHONUNBUFFERED", "1")
        for name in ("UV_SYSTEM_CERTS", "UV_NATIVE_TLS"):  # its new and its old name: certificates as pip takes them
            variables.insert(name, "1")

        def on_line(line: str) -> None:
            if progress is None or not progress.read(line):
                self._on_log(self._proxy.without_secrets(line))

        result = run_program(program, arguments, variables=variables, on_line=on_line, is_cancelled=self._is_cancelled)
        return ProgramResult(result.status, self._proxy.without_secrets(result.output), cancelled=result.cancelled)
