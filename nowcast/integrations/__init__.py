"""Nowcasting inside other training libraries, each imported by its own name: ``import
nowcast.integrations.keras``.
"""
