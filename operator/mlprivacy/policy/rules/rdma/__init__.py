"""Rules of the family rdma: NetworkPolicy does not see RDMA, so devices and further networks have rules of their own.

All are organisation defaults: without them an admitted device would pass every other control.
"""
