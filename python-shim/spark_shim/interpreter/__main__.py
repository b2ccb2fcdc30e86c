from __future__ import annotations

from .process import main

main()
