"""What user programs hold: clusters, producers, consumers and admins. Everything reaches the broker through here."""
