"""Conversations: onboarding, offers and a dashboard, on a chat page and over a webhook like that of WhatsApp."""

from __future__ import annotations

from . import flows as flows
from . import messaging as messaging
