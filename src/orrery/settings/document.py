"""docs/configuration.md's tables, from the structs."""

from orrery.settings.load import Setting, described


def markdown() -> str:
    """docs/configuration.md's tables, from the structs."""
    groups = (("Settings", ""), ("`[limits]`: what one tenant may use, by default", "limits."))
    parts = []
    for title, prefix in groups:
        rows = [row for row in described() if row.name.startswith("limits.") == bool(prefix)]
        lines = [_markdown_row(row, prefix) for row in rows]
        parts.append(
            f"## {title}\n\n| name | default | meaning |\n|---|---|---|\n" + "\n".join(lines)
        )
    return "\n\n".join(parts) + "\n"


def _markdown_row(setting: Setting, prefix: str) -> str:
    name = setting.name.removeprefix(prefix)
    return f"| `{name}` | {shown(setting.default)} | {setting.description} |"


def shown(default: object) -> str:
    if default is None:
        return "unset"
    if isinstance(default, tuple):
        return "`[]`" if not default else f"`{list(default)!r}`"
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    return f"`{default:_}`" if isinstance(default, int) else f"`{default!r}`".replace("'", '"')
