"""Makes the data files of mlprivacy.policy.taxonomy from what others publish."""
