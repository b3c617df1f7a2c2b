"""What runs in the guest: ``enter.sh``, then ``agent.py``; ``channel.py`` is spoken on both sides."""
