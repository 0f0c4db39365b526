"""From movies to features at the pace of the scans."""
