"""A stand-in for Amazon Rekognition's DetectLabels: its wire, limits and errors, and a real vision model.

Start it with ``uvicorn --factory rekognition.app:create_app`` and ``include/local`` on the import path.
"""
