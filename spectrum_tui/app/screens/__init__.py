"""The screens of the app, one file each, in the order that a user meets them."""
