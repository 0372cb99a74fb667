"""Wire formats of services other than chat, one file each, named ``service_format``. Found by folder; rows name theirs."""
