"""Parts for Fulcrum. A server imports `shop_parts.features` alone, so nothing is imported here."""
