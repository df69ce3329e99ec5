"""Every code that a problem of the configuration can have, what it means, and a text that has it.

The documentation of problems is written from this table, and a test triggers each one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

from reconciler.problem import Severity

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["CODES", "Code"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """A code. `example` are the lines below `version: 1` of a file whose one problem it is.

    `files` are whole files by name, where one such file cannot show it. `command` is what meets the problem, where
    reading the text alone does not.
    """

    code: str
    meaning: str
    severity: Severity = Severity.ERROR
    example: str = ""
    files: Mapping[str, bytes] = field(default_factory=dict)
    command: str = ""

    def texts(self) -> dict[str, bytes]:
        """The example as files."""
        return dict(self.files) if self.files else {"hooks.yaml": f"version: 1\n{self.example}".encode()}


def _hook(lines: str, kind: str = "conversation.started") -> str:
    """A bot whose one webhook has these lines, each indented by two."""
    indented = "".join(f"      {line}\n" for line in lines.splitlines())
    return f"bots:\n  support-bot:\n    webhooks:\n      crm:\n        type: {kind}\n{indented}"


_URL = "  url: https://crm.example.com/chats\n"
_SOURCES = "bots:\n  support-bot:\n    data_sources:\n"

_CODES = (
    # -- files
    Code(
        code="file-unreadable",
        meaning="A file or folder is missing, or may not be read.",
        command="reconcile validate -f nowhere.yaml",
    ),
    Code(
        code="no-files",
        meaning="A folder that was named holds no *.yaml or *.yml file.",
        files={"hooks/notes.txt": b"no webhooks yet\n"},
        command="reconcile validate -f hooks",
    ),
    Code(code="file-too-large", meaning="A file has more than 5 MB.", files={"hooks.yaml": b"# " + b"x" * 5_300_000}),
    Code(
        code="not-utf-8",
        meaning="A file is not a text in UTF-8.",
        files={"hooks.yaml": b'version: 1\nx-note: "caf\xe9"\n'},
    ),
    Code(
        code="control-character",
        meaning="A character stands in the file that no text may hold there, or the file is not a text at all.",
        example='x-note: "\\0"\n',
    ),
    # -- YAML
    Code(code="yaml-empty", meaning="A file holds no YAML.", files={"hooks.yaml": b"# nothing yet\n"}),
    Code(code="yaml-syntax", meaning="The text is not YAML.", example="x-note: [a, b\n"),
    Code(code="yaml-tab", meaning="A tab stands in the indentation.", example="bots:\n\tsupport-bot: {}\n"),
    Code(code="yaml-documents", meaning="A file holds more than one YAML document.", example="---\nversion: 1\n"),
    Code(code="yaml-tag", meaning="A value has a tag; none are supported.", example="x-note: !!str 1\n"),
    Code(code="yaml-key", meaning="A key is empty, or is a list or a mapping.", example="x-note: {? [a] : b}\n"),
    Code(code="yaml-alias", meaning="An alias names nothing, or what it stands in.", example="x-note: *nowhere\n"),
    Code(code="yaml-merge", meaning="`<<` is given something that cannot be merged.", example="x-note: {<<: 1}\n"),
    Code(code="yaml-number", meaning="A number is beyond what JSON can hold.", example="x-note: 1e999\n"),
    Code(
        code="yaml-depth", meaning="Values are nested more than 32 deep.", example=f"x-note: {'[' * 40}{']' * 40}\n"
    ),
    Code(
        code="yaml-aliases",
        meaning="A file uses more than 1,000 aliases.",
        example=f"x-a: &a 1\nx-b: [{'*a, ' * 1_001}]\n",
    ),
    Code(
        code="yaml-expansion",
        meaning="The aliases of a file stand for more values than anybody means.",
        example="x-a: &a [1,1,1,1,1,1,1,1,1,1]\n"
        + "".join(
            f"x-{after}: &{after} [{','.join([f'*{name}'] * 10)}]\n"
            for name, after in zip("abcde", "bcdef", strict=True)
        ),
    ),
    Code(
        code="yaml11-scalar",
        meaning="Tools that still read YAML 1.1 take this text or number for something else; quotes end the doubt.",
        severity=Severity.WARNING,
        example="x-country: no\n",
    ),
    Code(code="duplicate-key", meaning="A mapping has a key twice.", example="bots: {}\nbots: {}\n"),
    Code(
        code="unquoted-template",
        meaning="A template begins a value without quotes, and YAML reads its braces as a mapping.",
        example=_hook("  url: {{conversation.id}}\n"),
    ),
    Code(
        code="unquoted-reference",
        meaning="A reference stands without quotes inside {…} or […].",
        example=_hook(_URL + "  custom_payload: {headers: {X-Token: ${env:TOKEN}}}\n"),
    ),
    # -- shape
    Code(code="unknown-key", meaning="A key means nothing where it stands.", example="bot: {}\n"),
    Code(
        code="misplaced",
        meaning="Keys stand at the wrong depth: they are indented too little, or too much.",
        example="""bots:
  support-bot:
    webhooks:
      crm:
        type: conversation.started
      url: https://crm.example.com/chats
""",
    ),
    Code(code="missing-key", meaning="A key that is needed is not there.", example=_hook("")),
    Code(code="wrong-type", meaning="A value is of another type.", example=_hook(_URL + '  enabled: "true"\n')),
    Code(code="unknown-value", meaning="A value is none of those possible.", example=_hook("", "conversation.start")),
    Code(
        code="out-of-range",
        meaning="A value is too small, too large, too short or too long.",
        example=_hook(_URL + "  timeout: 31s\n"),
    ),
    Code(code="bad-duration", meaning="A text is not a duration.", example=_hook(_URL + "  timeout: 10 seconds\n")),
    Code(
        code="bad-handle", meaning="A name is not a handle, or not an address.", example="bots: {Support Bot: {}}\n"
    ),
    Code(
        code="sync-kind",
        meaning="A sync has both or neither of http and command.",
        example=_SOURCES + "      docs: {sync: {timeout: 1m}}\n",
    ),
    # -- secrets and references
    Code(
        code="literal-secret",
        meaning="A secret itself stands in the file.",
        example=_hook(_URL + "  secret: hunter2\n"),
    ),
    Code(
        code="secret-kind",
        meaning="A secret names both or neither of env and file.",
        example=_hook(_URL + "  secret: {}\n"),
    ),
    Code(
        code="bad-reference",
        meaning="A reference is malformed.",
        example=_hook("  url: https://crm.example.com/${TOKEN}\n"),
    ),
    Code(
        code="reference-not-allowed",
        meaning="A reference stands where plans must know the value.",
        example='bots: {support-bot: {name: "${env:NAME}"}}\n',
    ),
    Code(
        code="rotate-reference",
        meaning="A secret that is referenced is told to rotate.",
        example=_hook(_URL + "  secret: {env: CRM_SECRET}\n  secret_version: 2\n"),
    ),
    Code(
        code="reference-unresolved",
        meaning="The daemon's environment does not have what a reference names, or a file cannot be read.",
        example=_hook("  url: ${env:CRM_URL}/chats\n"),
        command="reconcile serve -f hooks.yaml --log-level error",
    ),
    # -- requests
    Code(code="bad-url", meaning="A URL is not one.", example=_hook("  url: crm.example.com/chats\n")),
    Code(
        code="plain-http",
        meaning="A URL is http and not https.",
        severity=Severity.WARNING,
        example=_hook("  url: http://crm.example.com/chats\n"),
    ),
    Code(
        code="url-credentials",
        meaning="A URL holds a user or a password.",
        severity=Severity.WARNING,
        example=_hook("  url: https://bot:hunter2@crm.example.com/chats\n"),
    ),
    Code(
        code="bad-header",
        meaning="A header's name is not one, or is given twice.",
        example=_hook(_URL + "  custom_payload: {headers: {X Bot: a}}\n"),
    ),
    Code(
        code="reserved-header",
        meaning="A header belongs to the sender.",
        example=_hook(_URL + "  custom_payload: {headers: {X-Secret-Key: a}}\n"),
    ),
    Code(
        code="template-in-host",
        meaning="A template stands where it would choose the receiver.",
        example=_hook('  url: "https://{{conversation.channelType}}.example.com/"\n'),
    ),
    Code(
        code="template-not-allowed",
        meaning="A template stands where there is no event.",
        example=_SOURCES + '      docs: {sync: {http: {url: "https://cms.example.com/{{bot}}"}}}\n',
    ),
    Code(
        code="template-not-scalar",
        meaning="A URL or a header is given a whole object.",
        example=_hook('  url: "https://crm.example.com/{{conversation}}"\n'),
    ),
    Code(
        code="unknown-variable",
        meaning="A template names what the event does not carry.",
        severity=Severity.WARNING,
        example=_hook('  url: "https://crm.example.com/{{conversation.botNmae}}"\n'),
    ),
    Code(
        code="body-not-json",
        meaning="A body goes out as JSON and is not JSON.",
        severity=Severity.WARNING,
        example=_hook(_URL + '  custom_payload: {body: "{{conversation.id}} has begun"}\n'),
    ),
    # -- between resources
    Code(
        code="declared-twice",
        meaning="Two files declare the same thing.",
        files={
            "one.yaml": b"version: 1\nbots: {support-bot: {name: One}}\n",
            "two.yaml": b"version: 1\nbots: {support-bot: {name: Two}}\n",
        },
    ),
    Code(
        code="ambiguous-id",
        meaning="An id is that of another, or another's handle.",
        example="bots: {support-bot: {id: b-1}, sales-bot: {id: b-1}}\n",
    ),
    Code(
        code="ambiguous-name",
        meaning="Two have the same display name.",
        severity=Severity.WARNING,
        example="bots: {support-bot: {name: Bot}, sales-bot: {name: Bot}}\n",
    ),
    Code(
        code="unknown-data-source",
        meaning="A webhook names a data source that its bot does not have.",
        example=_hook(_URL + "  data_source: docs\n", "sync.success"),
    ),
    Code(
        code="data-source-without-sync",
        meaning="A trigger names a data source that does not say how it is synced.",
        example=_SOURCES
        + "      docs: {}\n    webhooks:\n      cms:\n        type: sync.trigger\n        data_source: docs\n",
    ),
    Code(
        code="claimed-twice",
        meaning="Two webhooks, or two bots, have moved from the same place.",
        example="bots: {support-bot: {moved_from: bot}, sales-bot: {moved_from: bot}}\n",
    ),
    Code(
        code="moved-from-itself",
        meaning="Something has moved from where it is.",
        severity=Severity.WARNING,
        example="bots: {support-bot: {moved_from: support-bot}}\n",
    ),
)

CODES: Mapping[str, Code] = MappingProxyType({code.code: code for code in _CODES})
