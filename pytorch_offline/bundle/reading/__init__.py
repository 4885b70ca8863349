"""Reading a bundle on the far side: finding its parts, proving them, mending them, saying what is missing."""
