"""The controller: membership, demand, plans, and the admin API."""
