"""The Hugging Face hub, folders on the web and buckets: what is local, what is there, fetching it.

None of its modules loads the hub's client by being imported; each does when it is used.
"""
