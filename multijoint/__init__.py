"""The application on top of `custom_components`: commands, and what they do, from DICOM to a packaged bundle."""
