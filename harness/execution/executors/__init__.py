"""Who runs stages: processes of this machine, tasks of a Ray cluster, or jobs of a SLURM queue."""
