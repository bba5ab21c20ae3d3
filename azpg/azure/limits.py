"""Numbers that Azure keeps a flexible server's properties between.

Sources: concepts-backup-restore (7 to 35 days), the capabilities example of the REST specification
(PremiumV2_LRS from 32768 to 67108864 MiB).
"""

from __future__ import annotations

BACKUP_DAYS = range(7, 36)
"""For which backups are kept."""
PREMIUM_V2_GB = range(32, 65537)
"""Sizes of storage whose speed does not depend on its size; for the others see `azpg.azure.skus.STORAGE`."""
