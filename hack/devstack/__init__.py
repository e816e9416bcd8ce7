"""The operator on a control plane under test: the chart by helm, its processes by local children."""

from devstack.stack import DevStack, StackError

__all__ = ["DevStack", "StackError"]
