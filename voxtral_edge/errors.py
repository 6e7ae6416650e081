"""Typed errors. Every message says what is wrong, where, and what to do about it."""


class VoxtralEdgeError(Exception):
    """Base of every error this package raises on purpose."""


class ModelFormatError(VoxtralEdgeError):
    """A checkpoint or package is damaged, incomplete, hostile or of another version."""


class AudioFormatError(VoxtralEdgeError):
    """Audio that cannot be read or used."""


class OverrunError(VoxtralEdgeError):
    """Audio arrived faster than this device can process it, beyond the allowed backlog."""


class DeviceError(VoxtralEdgeError):
    """This machine lacks a CPU feature, memory, disk space or a program that was asked for."""


class UsageError(VoxtralEdgeError):
    """An interface was used against its rules (unknown option, call after finish)."""
