"""Cloudflare tunnels beside containers: what cloudflared says (`words`), who keeps them alive (`keeper`)."""
