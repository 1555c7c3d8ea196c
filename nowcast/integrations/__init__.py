"""Nowcasting inside other training libraries.

Import each by its own name: ``import nowcast.integrations.keras``.
"""
