"""Desired and State to Plan; Plan and State to State; Plan to text, JSON or markdown.

The law of this floor: pure. It never imports config/; both meet in model/.
"""
