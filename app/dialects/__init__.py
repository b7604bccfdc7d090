"""The service in the words of other APIs, so that their clients need nothing but its address."""
