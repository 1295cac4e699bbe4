"""The demo pool (`make machines`), and playbooks for those who prefer Ansible's hands. No part of the panel: it may talk to an engine."""
