"""Choosing and combining trained nets."""
