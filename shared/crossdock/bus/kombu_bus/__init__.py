"""The bus on everything that kombu speaks to. Nothing outside this folder sees kombu."""

from crossdock.bus.kombu_bus.bus import KombuBus


__all__ = ["KombuBus"]
