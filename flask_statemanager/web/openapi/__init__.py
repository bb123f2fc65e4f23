"""What the API says of itself: an OpenAPI document, and a page that shows it."""
