"""How far a job is, in one line for a person."""

from __future__ import annotations

from typing import Any

from qgis_maskdino.translation import tr


def progress_text(event: dict[str, Any]) -> str:
    """Return the line for a ``progress`` event of the engine: what was found, how fast, how long still, on what."""
    parts = []
    if event.get("buildings") is not None:
        parts.append(tr("{} buildings so far").format(f"{event['buildings']:,}"))
    elif event.get("unit") == "%" and not is_finishing(event):
        parts.append(f"{event.get('done', 0):.0f} %")
    elif event.get("total") and event.get("unit") not in (None, "", "%"):
        parts.append(f"{event.get('done', 0):,} / {event['total']:,} {_unit(str(event['unit']))}")
    if event.get("megapixels_per_second"):
        parts.append(f"{event['megapixels_per_second']:.2g} MPix/s")
    if is_finishing(event):
        parts.append(tr("finishing …"))
    elif event.get("seconds_left") is not None:
        parts.append(tr("{} left").format(duration(event["seconds_left"])))
    if event.get("device"):
        parts.append(device_name(event["device"]))
    if event.get("note"):
        parts.append(str(event["note"]))
    return " · ".join(parts)


def is_finishing(event: dict[str, Any]) -> bool:
    """Return whether all that can be counted is done: what is left then, merging and writing, has no known end."""
    return bool(event.get("total")) and event.get("done", 0) >= event["total"]


def _unit(name: str) -> str:
    """Return what the engine counts in, in the user's language."""
    units = {
        "tiles": tr("tiles"),
        "tiles fetched": tr("tiles fetched"),
        "steps": tr("steps"),
        "images": tr("images"),
    }
    return units.get(name, name)


def duration(seconds: float) -> str:
    """Return a time as people say it: 8 s, 3 min, 1 h 20 min."""
    seconds = max(0.0, seconds)
    if seconds < 59.5:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"


def device_name(device: str) -> str:
    """Return the name of a device of the engine as people know it."""
    if device.startswith("cuda"):
        return tr("graphics card") + (f" {device.partition(':')[2]}" if ":" in device and device != "cuda:0" else "")
    return {"cpu": tr("processor"), "mps": tr("Apple graphics"), "auto": tr("automatic")}.get(device, device)
