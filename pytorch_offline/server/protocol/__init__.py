"""What a request means and what is answered: RFC 9110, RFC 9112 and PEP 691 as functions of values."""
