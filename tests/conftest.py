"""What every test may ask for."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

from reconciler.model.resource import Declared, Desired, Key, Kind
from reconciler.model.spec import canonical_bot, canonical_data_source, canonical_webhook
from reconciler.problem import Place
from reconciler.store.seal import Keyring

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# A busy machine is no reason to fail: pytest's own time-out ends what hangs.
settings.register_profile("project", deadline=None)
# A landing is judged by what it changed, not by the day's luck: CI tries the same examples every time, and whoever
# works on the project tries new ones.
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "project")


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--rewrite` renews golden files instead of comparing with them."""
    parser.addoption("--rewrite", action="store_true", help="write golden files anew")


@pytest.fixture
def rewrite(request: pytest.FixtureRequest) -> bool:
    """Whether golden files are to be written anew."""
    return bool(request.config.getoption("--rewrite"))


@pytest.fixture
def promtool() -> str:
    """The path of promtool, from the system or from where scripts/promtool.sh puts it."""
    tools = Path(__file__).parents[1] / "build" / "tools"
    found = shutil.which("promtool", path=f"{os.environ.get('PATH', '')}:{tools}")
    if found is None:
        pytest.skip("promtool is not here, so that nothing of it was checked (scripts/promtool.sh gets it)")
    return found


@dataclass(slots=True)
class CountingMint:
    """Ids, secrets and keys that count up, so that a test's output is the same every time."""

    drawn: int = 0
    secrets: list[str] = field(default_factory=list)

    def bytes(self, count: int) -> bytes:
        """The next `count` bytes of a stream that only looks random."""
        self.drawn += 1
        return hashlib.shake_128(self.drawn.to_bytes(8, "big")).digest(count)

    def new_id(self, now_ms: int) -> str:
        """A UUID of version 7."""
        digits = f"{now_ms:012x}{self.bytes(10).hex()}"
        return f"{digits[:8]}-{digits[8:12]}-7{digits[13:16]}-8{digits[17:20]}-{digits[20:]}"

    def hook_id(self) -> str:
        """A UUID of version 4."""
        digits = self.bytes(16).hex()
        return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-8{digits[17:20]}-{digits[20:]}"

    def trigger_secret(self) -> str:
        """32 hexadecimal characters."""
        self.secrets.append(self.bytes(16).hex())
        return self.secrets[-1]

    def signing_secret(self) -> str:
        """A Standard Webhooks secret."""
        self.secrets.append("whsec_" + base64.b64encode(self.bytes(32)).decode())
        return self.secrets[-1]

    def jitter(self) -> float:
        """No jitter at all."""
        return 0.5


@pytest.fixture
def mint() -> CountingMint:
    """Chance without chance; `secrets` lists every secret it has handed out."""
    return CountingMint()


@pytest.fixture
def keyring() -> Keyring:
    """One key."""
    return Keyring([b"k" * 32], mint=CountingMint())


@pytest.fixture(scope="session")
def declare() -> Callable[..., Desired]:
    """Bots as they stand in YAML to Desired, without reading YAML: `declare({"support": {"webhooks": {…}}})`.

    The n-th resource stands on line 10 n, its fields one line below it.
    """
    return _declare


def _declare(bots: Mapping[str, Any], *, file: str = "hooks.yaml", base_dir: str = "/config") -> Desired:
    resources: dict[Key, Declared] = {}

    def add(kind: Kind, address: str, spec: dict[str, Any], sources: Any, bot: str = "") -> None:
        line = 10 * (len(resources) + 1)
        listed = [] if sources is None else [sources] if isinstance(sources, str) else sources
        resources[Key(kind, address)] = Declared(
            key=Key(kind, address),
            spec=spec,
            base_dir=base_dir,
            moved_from=tuple(each if "/" in each or not bot else f"{bot}/{each}" for each in listed),
            locate=lambda path: Place(file, line + (1 if path else 0)),
        )

    for handle, bot in bots.items():
        add(Kind.BOT, handle, canonical_bot(bot, handle), bot.get("moved_from"))
        for name, source in bot.get("data_sources", {}).items():
            spec = canonical_data_source(source, name)
            add(Kind.DATA_SOURCE, f"{handle}/{name}", spec, source.get("moved_from"), handle)
        for name, hook in bot.get("webhooks", {}).items():
            add(Kind.WEBHOOK, f"{handle}/{name}", canonical_webhook(hook), hook.get("moved_from"), handle)
    ordered = dict(sorted(resources.items()))
    text = json.dumps([[*key, declared.spec] for key, declared in ordered.items()], sort_keys=True)
    return Desired(resources=ordered, digest=f"sha256:{hashlib.sha256(text.encode()).hexdigest()}", files=(file,))


@pytest.fixture(scope="session")
def new_mint() -> type[CountingMint]:
    """Makes mints, for tests that need one per example."""
    return CountingMint
