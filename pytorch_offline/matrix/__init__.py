"""The tables that people look for: builds by release, CUDA, Python, driver, GPU; and companions."""
